-- What is left of a row of a user who is forgotten: its place in the topic, so that nobody thinks that
-- it is lacking, and what the counts of all users count of it, so that they can be counted again.

CREATE TABLE IF NOT EXISTS events_forgotten
(
    timestamp DateTime64(3, 'UTC') COMMENT 'Beginning of the quarter of an hour of the event''s timestamp (UTC)',
    event LowCardinality(String) COMMENT 'Name of the event',
    received_at DateTime64(3, 'UTC') COMMENT 'End of the day on which Kafka received it (UTC); retention counts from here',
    kafka_partition UInt16 COMMENT 'Partition of the topic accepted that the row came from',
    kafka_offset UInt64 COMMENT 'Offset in the topic accepted that the row came from'
)
ENGINE = MergeTree
ORDER BY (kafka_partition, kafka_offset)
SETTINGS merge_with_ttl_timeout = 3600
COMMENT 'What is left of events of users who are forgotten: nothing that names them. event_counts goes on counting them.';

CREATE TABLE IF NOT EXISTS sessions_forgotten
(
    started_at DateTime64(3, 'UTC') COMMENT 'Beginning of the quarter of an hour of the play''s timestamp (UTC)',
    duration_ms UInt64 COMMENT 'Duration of the session in milliseconds',
    received_at DateTime64(3, 'UTC') COMMENT 'End of the day on which Kafka received the record that completed the session (UTC); retention counts from here',
    kafka_partition UInt16 COMMENT 'Partition of the topic sessions that the row came from',
    kafka_offset UInt64 COMMENT 'Offset in the topic sessions that the row came from'
)
ENGINE = MergeTree
ORDER BY (kafka_partition, kafka_offset)
SETTINGS merge_with_ttl_timeout = 3600
COMMENT 'What is left of sessions of users who are forgotten: nothing that names them. session_stats goes on counting them.';

CREATE TABLE IF NOT EXISTS rejected_events_forgotten
(
    received_at DateTime64(3, 'UTC') COMMENT 'End of the day on which Kafka received the record (UTC); retention counts from here',
    kafka_topic LowCardinality(String) COMMENT 'Topic that the row came from: rejected, or the topic of a row that ClickHouse refused',
    kafka_partition UInt16 COMMENT 'Partition of kafka_topic that the row came from',
    kafka_offset UInt64 COMMENT 'Offset in kafka_topic that the row came from'
)
ENGINE = MergeTree
ORDER BY (kafka_topic, kafka_partition, kafka_offset)
SETTINGS merge_with_ttl_timeout = 3600
COMMENT 'What is left of rejected records that name users who are forgotten: their places.';
