CREATE VIEW IF NOT EXISTS event_counts
(
    bucket DateTime('UTC') COMMENT 'Beginning of a quarter of an hour (UTC) of the events'' timestamps; toDate(bucket) is the day',
    event LowCardinality(String) COMMENT 'Name of the event',
    events UInt64 COMMENT 'Number of events; may be summed over longer periods',
    users UInt64 COMMENT 'Number of different users in this quarter of an hour (within about 1 %); not to be summed',
    users_state AggregateFunction(uniqCombined64(14), String) COMMENT 'For different users over a longer period: uniqCombined64Merge(14)(users_state)'
)
AS SELECT
    bucket,
    event,
    sum(event_counts_15m.events) AS events,
    uniqCombined64Merge(14)(event_counts_15m.users_state) AS users,
    uniqCombined64MergeState(14)(event_counts_15m.users_state) AS users_state
FROM event_counts_15m
GROUP BY bucket, event
COMMENT 'Events of all users by quarter of an hour and name. Outlives the events: kept for ever unless TRACK_COUNTS_DAYS says otherwise.';

CREATE VIEW IF NOT EXISTS user_counts
(
    user_id String COMMENT 'Whose events they are',
    bucket DateTime('UTC') COMMENT 'Beginning of a quarter of an hour (UTC) of the events'' timestamps; toDate(bucket) is the day',
    event LowCardinality(String) COMMENT 'Name of the event',
    events UInt64 COMMENT 'Number of events; may be summed over longer periods'
)
AS SELECT
    user_id,
    bucket,
    event,
    sum(user_counts_15m.events) AS events
FROM user_counts_15m
GROUP BY user_id, bucket, event
COMMENT 'Events of each user by quarter of an hour and name. Outlives the events: kept for TRACK_USER_COUNTS_MONTHS (25) months from the last receipt.';

CREATE VIEW IF NOT EXISTS session_stats
(
    bucket DateTime('UTC') COMMENT 'Beginning of the quarter of an hour (UTC) in which the sessions began; toDate(bucket) is the day',
    sessions UInt64 COMMENT 'Number of completed sessions; may be summed over longer periods',
    duration_ms UInt64 COMMENT 'Sum of their durations in milliseconds; may be summed',
    average_ms Float64 COMMENT 'Average duration in milliseconds; for a longer period sum(duration_ms) / sum(sessions)',
    median_ms Float64 COMMENT 'Median duration in milliseconds (approximate); not to be summed',
    p95_ms Float64 COMMENT '95th percentile of the durations in milliseconds (approximate); not to be summed',
    shortest_ms UInt64 COMMENT 'Shortest duration in milliseconds',
    longest_ms UInt64 COMMENT 'Longest duration in milliseconds',
    users UInt64 COMMENT 'Number of different users (within about 1 %); not to be summed',
    durations_state AggregateFunction(quantilesTDigest(0.5, 0.95), UInt64) COMMENT 'For quantiles over a longer period: quantilesTDigestMerge(0.5, 0.95)(durations_state)',
    users_state AggregateFunction(uniqCombined64(14), String) COMMENT 'For different users over a longer period: uniqCombined64Merge(14)(users_state)'
)
AS SELECT
    bucket,
    sum(session_stats_15m.sessions) AS sessions,
    sum(session_stats_15m.duration_ms) AS duration_ms,
    duration_ms / sessions AS average_ms,
    quantilesTDigestMerge(0.5, 0.95)(session_stats_15m.durations_state)[1] AS median_ms,
    quantilesTDigestMerge(0.5, 0.95)(session_stats_15m.durations_state)[2] AS p95_ms,
    min(session_stats_15m.shortest_ms) AS shortest_ms,
    max(session_stats_15m.longest_ms) AS longest_ms,
    uniqCombined64Merge(14)(session_stats_15m.users_state) AS users,
    quantilesTDigestMergeState(0.5, 0.95)(session_stats_15m.durations_state) AS durations_state,
    uniqCombined64MergeState(14)(session_stats_15m.users_state) AS users_state
FROM session_stats_15m
GROUP BY bucket
COMMENT 'Completed sessions of all users by the quarter of an hour they began in. Outlives the events.';
