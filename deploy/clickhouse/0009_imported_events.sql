-- What `track import` brings back. Not through events: its views would count everything again, and
-- its retention would drop it. A partition is one day of one log, so that a day is replaced whole.

CREATE TABLE IF NOT EXISTS imported_events
(
    log_id LowCardinality(String) COMMENT 'Id of the log that the event belongs to, as in the table log where it was exported',
    event_id String COMMENT 'Id of the event: the client''s, else one made on receipt. Unique for each user within 24 hours',
    user_id String COMMENT 'Who did it, as the client named the user; any characters',
    event LowCardinality(String) COMMENT 'What was done, such as play or stop',
    timestamp DateTime64(3, 'UTC') COMMENT 'When it was done (UTC, milliseconds), by the client''s clock; never after received_at',
    received_at DateTime64(3, 'UTC') COMMENT 'When Kafka received it (UTC, milliseconds); its day was exported and imported as a whole',
    metadata JSON(max_dynamic_paths = 32) COMMENT 'What the client sent along; a path is addressed as metadata.song_id, with a type as metadata.song_id.:String',
    source LowCardinality(String) COMMENT 'Name of the key that sent it, or what an outside producer said in its header source; empty if none',
    log_offset UInt64 COMMENT 'Offset of the record in the topic events (partition as in kafka_partition)',
    kafka_partition UInt16 COMMENT 'Partition of the topic accepted that the row came from; all of a user''s rows have one',
    kafka_offset UInt64 COMMENT 'Offset in the topic accepted that the row came from'
)
ENGINE = MergeTree
PARTITION BY (log_id, toDate(received_at))
ORDER BY (toDate(timestamp), event, user_id, timestamp)
SETTINGS object_shared_data_serialization_version = 'map_with_buckets'
COMMENT 'Events of days that track import has brought back from files; kept until they are dropped by hand. Counted in no other table. To ask for all events there are, use the view all_events.';

CREATE VIEW IF NOT EXISTS imported_days
(
    log_id LowCardinality(String) COMMENT 'Id of the log that the day belongs to',
    day Date COMMENT 'Day of receipt (UTC)',
    events UInt64 COMMENT 'Number of events of the day in imported_events',
    is_shown Bool COMMENT 'Whether all_events takes the day from imported_events; false where the table events has as many of it, or more'
)
AS SELECT
    log_id,
    day,
    sum(imported) AS events,
    log_id NOT IN (SELECT id FROM log) OR sum(imported) > sum(present) AS is_shown
FROM
(
    SELECT log_id, toDate(received_at) AS day, count() AS imported, 0 AS present
    FROM imported_events GROUP BY log_id, day
    UNION ALL
    SELECT
        toLowCardinality(assumeNotNull((SELECT any(id) FROM log))) AS log_id,
        toDate(received_at) AS day, 0 AS imported, count() AS present
    FROM events GROUP BY day
)
GROUP BY log_id, day
HAVING sum(imported) > 0
COMMENT 'The days that were brought back by track import.';

CREATE VIEW IF NOT EXISTS all_events
(
    event_id String COMMENT 'Id of the event: the client''s, else one made on receipt. Unique for each user within 24 hours',
    user_id String COMMENT 'Who did it, as the client named the user; any characters',
    event LowCardinality(String) COMMENT 'What was done, such as play or stop',
    timestamp DateTime64(3, 'UTC') COMMENT 'When it was done (UTC, milliseconds), by the client''s clock; never after received_at',
    received_at DateTime64(3, 'UTC') COMMENT 'When Kafka received it (UTC, milliseconds). A condition on toDate(received_at) reads the days that are asked for alone',
    metadata JSON(max_dynamic_paths = 32) COMMENT 'What the client sent along; a path is addressed as metadata.song_id, with a type as metadata.song_id.:String',
    source LowCardinality(String) COMMENT 'Name of the key that sent it, or what an outside producer said in its header source; empty if none',
    log_offset UInt64 COMMENT 'Offset of the record in the topic events (partition as in kafka_partition)',
    kafka_partition UInt16 COMMENT 'Partition of the topic accepted that the row came from; all of a user''s rows have one',
    kafka_offset UInt64 COMMENT 'Offset in the topic accepted that the row came from',
    log_id LowCardinality(String) COMMENT 'Id of the log that the event belongs to; all that did not come from files of elsewhere have one'
)
AS SELECT
    event_id, user_id, event, timestamp, received_at, metadata, source, log_offset,
    kafka_partition, kafka_offset,
    toLowCardinality(assumeNotNull((SELECT any(id) FROM log))) AS log_id
FROM events
WHERE toDate(received_at) NOT IN (
    SELECT day FROM imported_days WHERE is_shown AND log_id IN (SELECT id FROM log)
)
UNION ALL
SELECT
    event_id, user_id, event, timestamp, received_at, metadata, source, log_offset,
    kafka_partition, kafka_offset, log_id
FROM imported_events
WHERE (log_id, toDate(received_at)) IN (SELECT log_id, day FROM imported_days WHERE is_shown)
COMMENT 'The events that are still kept, and the days that track import has brought back, each event once: a day is taken from where it has more events.';
