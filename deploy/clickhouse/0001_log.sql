CREATE TABLE IF NOT EXISTS log
(
    id String COMMENT 'Id of the log: 32 hex digits, made once with the topics; the same as in the topic meta',
    opens String COMMENT 'Name of the event that opens a session',
    closes String COMMENT 'Name of the event that closes a session',
    partitions UInt16 COMMENT 'Number of partitions of each topic',
    created_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') COMMENT 'When the log was made (UTC)'
)
ENGINE = MergeTree
ORDER BY id
COMMENT 'The log that these tables were filled from: one row. Services refuse to start where it differs from Kafka''s.';
