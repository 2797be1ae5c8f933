-- Retention and deduplication windows follow the settings: `track migrate` sets them on every run.
-- A client may send a new key with every event. With ClickHouse's default ('advanced') the merge of
-- ten thousand such rows takes more than 4 GB, fails, and is tried again for ever; in buckets it
-- takes next to nothing.

CREATE TABLE IF NOT EXISTS events
(
    event_id String COMMENT 'Id of the event: the client''s, else one made on receipt. Unique for each user within 24 hours',
    user_id String COMMENT 'Who did it, as the client named the user; any characters',
    event LowCardinality(String) COMMENT 'What was done, such as play or stop',
    timestamp DateTime64(3, 'UTC') COMMENT 'When it was done (UTC, milliseconds), by the client''s clock; never after received_at',
    received_at DateTime64(3, 'UTC') COMMENT 'When Kafka received it (UTC, milliseconds). The row is kept for TRACK_EVENTS_DAYS (30) days from here; whole days go at once',
    metadata JSON(max_dynamic_paths = 32) COMMENT 'What the client sent along; a path is addressed as metadata.song_id, with a type as metadata.song_id.:String. At most 4096 bytes; warning, originalSize and originalTimestamp tell what was changed. Gone with the row: counts and sessions outlive it',
    source LowCardinality(String) COMMENT 'Name of the key that sent it, or what an outside producer said in its header source; empty if none',
    log_offset UInt64 COMMENT 'Offset of the record in the topic events (partition as in kafka_partition)',
    kafka_partition UInt16 COMMENT 'Partition of the topic accepted that the row came from; all of a user''s rows have one',
    kafka_offset UInt64 COMMENT 'Offset in the topic accepted that the row came from',
    INDEX offsets (kafka_partition, kafka_offset) TYPE minmax GRANULARITY 4
)
ENGINE = MergeTree
PARTITION BY toDate(received_at)
ORDER BY (toDate(timestamp), event, user_id, timestamp)
SETTINGS
    ttl_only_drop_parts = 1,
    merge_with_ttl_timeout = 600,
    object_shared_data_serialization_version = 'map_with_buckets'
COMMENT 'Every accepted event once, for 30 days from its receipt (TRACK_EVENTS_DAYS). What outlives the events: event_counts, user_counts, sessions, session_stats.';

CREATE TABLE IF NOT EXISTS events_refusals AS events
ENGINE = Null
COMMENT 'Keeps nothing: the writer inserts into it to find out which rows of a block would be refused by events.';
