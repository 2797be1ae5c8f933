-- Not partitioned: one producer of old plays would make parts without end.

CREATE TABLE IF NOT EXISTS sessions
(
    session_id String COMMENT 'Id of the session: 32 hex digits, a hash over user, play and stop',
    user_id String COMMENT 'Whose session it is',
    started_at DateTime64(3, 'UTC') COMMENT 'Timestamp of the play (UTC, milliseconds); the session belongs to this day',
    ended_at DateTime64(3, 'UTC') COMMENT 'Timestamp of the stop (UTC, milliseconds)',
    duration_ms UInt64 COMMENT 'ended_at less started_at, in milliseconds; 0 is a session',
    attributes JSON(max_dynamic_paths = 16) COMMENT 'The play''s plain metadata (strings, numbers, booleans; at most 256 bytes), addressed as attributes.song_id. Outlives the event',
    play_id String COMMENT 'event_id of the play; the event itself may have expired',
    stop_id String COMMENT 'event_id of the stop; the event itself may have expired',
    received_at DateTime64(3, 'UTC') COMMENT 'When Kafka received the record that completed the session (UTC, milliseconds). Retention, if any (TRACK_SESSIONS_DAYS), counts from here',
    log_offset UInt64 COMMENT 'Offset in the topic events of the record that completed the session',
    kafka_partition UInt16 COMMENT 'Partition of the topic sessions that the row came from',
    kafka_offset UInt64 COMMENT 'Offset in the topic sessions that the row came from',
    INDEX offsets (kafka_partition, kafka_offset) TYPE minmax GRANULARITY 4
)
ENGINE = MergeTree
ORDER BY (user_id, started_at)
SETTINGS
    merge_with_ttl_timeout = 3600,
    object_shared_data_serialization_version = 'map_with_buckets'
COMMENT 'Every completed session (a play and its stop) once. Kept for ever unless TRACK_SESSIONS_DAYS says otherwise; outlives the events.';

CREATE TABLE IF NOT EXISTS sessions_refusals AS sessions
ENGINE = Null
COMMENT 'Keeps nothing: the writer inserts into it to find out which rows of a block would be refused by sessions.';
