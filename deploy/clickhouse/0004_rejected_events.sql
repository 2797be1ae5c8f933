CREATE TABLE IF NOT EXISTS rejected_events
(
    reason LowCardinality(String) COMMENT 'Why it was rejected, as the code that POST /track would have answered',
    message String COMMENT 'The reason in a sentence that names the field',
    source LowCardinality(String) COMMENT 'Name of the key that sent it, or what an outside producer said in its header source; empty if none',
    log_topic LowCardinality(String) COMMENT 'Topic of the rejected record',
    log_partition UInt16 COMMENT 'Partition of the rejected record in log_topic',
    log_offset UInt64 COMMENT 'Offset of the rejected record in log_topic',
    received_at DateTime64(3, 'UTC') COMMENT 'When Kafka received the record (UTC, milliseconds). The row is kept for TRACK_REJECTED_DAYS (30) days from here',
    key String COMMENT 'The record''s key, written as key_encoding says',
    key_encoding LowCardinality(String) COMMENT 'utf-8, base64, or null (there was no key)',
    value String COMMENT 'The first 65536 bytes of the record''s value, written as value_encoding says',
    value_encoding LowCardinality(String) COMMENT 'utf-8, base64, or null (there was no value)',
    value_bytes UInt64 COMMENT 'Length in bytes of the whole value',
    value_sha256 String COMMENT 'SHA-256 of the whole value in hex, if it was cut; else empty',
    headers String COMMENT 'The record''s headers: JSON, [[name, base64 or null], ...]',
    whole Bool COMMENT 'true if nothing was cut, so that the record can be replayed',
    kafka_topic LowCardinality(String) COMMENT 'Topic that the row came from: rejected, or the topic of a row that ClickHouse refused',
    kafka_partition UInt16 COMMENT 'Partition of kafka_topic that the row came from',
    kafka_offset UInt64 COMMENT 'Offset in kafka_topic that the row came from',
    INDEX offsets (kafka_partition, kafka_offset) TYPE minmax GRANULARITY 4
)
ENGINE = MergeTree
ORDER BY (received_at, reason)
SETTINGS merge_with_ttl_timeout = 3600
COMMENT 'Every record that was not an event, with the reason and its bytes, for 30 days from its receipt (TRACK_REJECTED_DAYS).';

CREATE TABLE IF NOT EXISTS rejected_events_refusals AS rejected_events
ENGINE = Null
COMMENT 'Keeps nothing: the writer inserts into it to find out which rows of a block would be refused by rejected_events.';
