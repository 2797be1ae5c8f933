-- Quarters of an hour, in UTC: the days of every time zone are sums of them. Each row belongs to
-- one Kafka partition and says up to which offset it counts, so that a rollup that missed a block
-- is found and filled. No expression in the views can fail, whatever a row holds.

CREATE TABLE IF NOT EXISTS event_counts_15m
(
    bucket DateTime('UTC') COMMENT 'Beginning of the quarter of an hour of the events'' timestamps (UTC)',
    event LowCardinality(String) COMMENT 'Name of the event',
    kafka_partition UInt16 COMMENT 'Partition of the topic accepted',
    events SimpleAggregateFunction(sum, UInt64) COMMENT 'Number of events; to be summed',
    users_state AggregateFunction(uniqCombined64(14), String) COMMENT 'State for the number of different users: uniqCombined64Merge(14)(users_state)',
    last_offset SimpleAggregateFunction(max, UInt64) COMMENT 'Highest offset in the topic accepted that is counted here',
    last_received_at SimpleAggregateFunction(max, DateTime('UTC')) COMMENT 'When the last event counted here was received (UTC); retention, if any (TRACK_COUNTS_DAYS), counts from here',
    INDEX offsets (kafka_partition, last_offset) TYPE minmax GRANULARITY 4,
    -- Days in UTC, which most questions are about: a hundredth of the rows, kept in the same parts,
    -- so that they cannot differ. Merges build it anew, since they sum.
    PROJECTION days (SELECT toDate(bucket) AS day, event, sum(events) GROUP BY day, event)
)
ENGINE = AggregatingMergeTree
ORDER BY (bucket, event, kafka_partition)
SETTINGS merge_with_ttl_timeout = 3600, deduplicate_merge_projection_mode = 'rebuild'
COMMENT 'Events of all users by quarter of an hour and name, in parts still to be summed: ask the view event_counts. Outlives the events.';

CREATE MATERIALIZED VIEW IF NOT EXISTS event_counts_15m_view TO event_counts_15m AS
SELECT
    toStartOfFifteenMinutes(timestamp) AS bucket,
    event,
    kafka_partition,
    count() AS events,
    uniqCombined64State(14)(user_id) AS users_state,
    max(kafka_offset) AS last_offset,
    max(toDateTime(received_at)) AS last_received_at
FROM events
GROUP BY bucket, event, kafka_partition
COMMENT 'Fills event_counts_15m from events.';

CREATE TABLE IF NOT EXISTS user_counts_15m
(
    user_id String COMMENT 'Whose events they are',
    bucket DateTime('UTC') COMMENT 'Beginning of the quarter of an hour of the events'' timestamps (UTC)',
    event LowCardinality(String) COMMENT 'Name of the event',
    kafka_partition UInt16 COMMENT 'Partition of the topic accepted',
    events SimpleAggregateFunction(sum, UInt64) COMMENT 'Number of events; to be summed',
    last_offset SimpleAggregateFunction(max, UInt64) COMMENT 'Highest offset in the topic accepted that is counted here',
    last_received_at SimpleAggregateFunction(max, DateTime('UTC')) COMMENT 'When the last event counted here was received (UTC); the row is kept for TRACK_USER_COUNTS_MONTHS (25) months from here',
    INDEX offsets (kafka_partition, last_offset) TYPE minmax GRANULARITY 4
)
ENGINE = AggregatingMergeTree
ORDER BY (user_id, bucket, event, kafka_partition)
SETTINGS merge_with_ttl_timeout = 3600
COMMENT 'Events of each user by quarter of an hour and name, in parts still to be summed: ask the view user_counts. Outlives the events.';

CREATE MATERIALIZED VIEW IF NOT EXISTS user_counts_15m_view TO user_counts_15m AS
SELECT
    user_id,
    toStartOfFifteenMinutes(timestamp) AS bucket,
    event,
    kafka_partition,
    count() AS events,
    max(kafka_offset) AS last_offset,
    max(toDateTime(received_at)) AS last_received_at
FROM events
GROUP BY user_id, bucket, event, kafka_partition
COMMENT 'Fills user_counts_15m from events.';

CREATE TABLE IF NOT EXISTS session_stats_15m
(
    bucket DateTime('UTC') COMMENT 'Beginning of the quarter of an hour in which the sessions began (UTC)',
    kafka_partition UInt16 COMMENT 'Partition of the topic sessions',
    sessions SimpleAggregateFunction(sum, UInt64) COMMENT 'Number of sessions; to be summed',
    duration_ms SimpleAggregateFunction(sum, UInt64) COMMENT 'Sum of the sessions'' durations in milliseconds; to be summed',
    shortest_ms SimpleAggregateFunction(min, UInt64) COMMENT 'Shortest duration in milliseconds',
    longest_ms SimpleAggregateFunction(max, UInt64) COMMENT 'Longest duration in milliseconds',
    durations_state AggregateFunction(quantilesTDigest(0.5, 0.95), UInt64) COMMENT 'State for quantiles of the durations: quantilesTDigestMerge(0.5, 0.95)(durations_state)',
    users_state AggregateFunction(uniqCombined64(14), String) COMMENT 'State for the number of different users: uniqCombined64Merge(14)(users_state)',
    last_offset SimpleAggregateFunction(max, UInt64) COMMENT 'Highest offset in the topic sessions that is counted here',
    last_received_at SimpleAggregateFunction(max, DateTime('UTC')) COMMENT 'When the last session counted here was completed (UTC); retention, if any (TRACK_SESSIONS_DAYS), counts from here',
    INDEX offsets (kafka_partition, last_offset) TYPE minmax GRANULARITY 4
)
ENGINE = AggregatingMergeTree
ORDER BY (bucket, kafka_partition)
SETTINGS merge_with_ttl_timeout = 3600
COMMENT 'Sessions of all users by the quarter of an hour they began in, in parts still to be summed: ask the view session_stats. Outlives the events.';

CREATE MATERIALIZED VIEW IF NOT EXISTS session_stats_15m_view TO session_stats_15m AS
SELECT
    toStartOfFifteenMinutes(started_at) AS bucket,
    kafka_partition,
    count() AS sessions,
    sum(sessions.duration_ms) AS duration_ms,
    min(sessions.duration_ms) AS shortest_ms,
    max(sessions.duration_ms) AS longest_ms,
    quantilesTDigestState(0.5, 0.95)(sessions.duration_ms) AS durations_state,
    uniqCombined64State(14)(user_id) AS users_state,
    max(kafka_offset) AS last_offset,
    max(toDateTime(received_at)) AS last_received_at
FROM sessions
GROUP BY bucket, kafka_partition
COMMENT 'Fills session_stats_15m from sessions.';
