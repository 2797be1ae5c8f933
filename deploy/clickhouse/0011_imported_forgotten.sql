-- Which rows of imported days are left out because their users are forgotten, so that nobody thinks
-- that they are lacking and imports the day again.

CREATE TABLE IF NOT EXISTS imported_events_forgotten
(
    log_id LowCardinality(String) COMMENT 'Id of the log that the event belonged to',
    day Date COMMENT 'Day on which Kafka received it (UTC)',
    kafka_partition UInt16 COMMENT 'Partition of the topic accepted that the row came from',
    kafka_offset UInt64 COMMENT 'Offset in the topic accepted that the row came from'
)
ENGINE = MergeTree
PARTITION BY (log_id, day)
ORDER BY (kafka_partition, kafka_offset)
COMMENT 'Places of events that imported_events lacks because their users are forgotten: nothing that names them.';
