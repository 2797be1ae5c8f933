-- What people ask first, ready to be asked: `SELECT * FROM daily_active_users`. Whoever asks needs
-- no state of an aggregate function.
--
-- Projections keep what the views add up, by day (UTC) or by user, in the same parts as the rows,
-- so they cannot differ. A year of different users by day would else be merged out of half a million
-- states. Merges build them anew, since they sum. A projection is found by its very expressions:
-- ask with them, as the views do.

ALTER TABLE event_counts_15m ADD PROJECTION IF NOT EXISTS users_of_days
(
    SELECT
        toDate(bucket) AS day,
        event,
        sum(events),
        uniqCombined64MergeState(14)(users_state)
    GROUP BY day, event
);

ALTER TABLE event_counts_15m MATERIALIZE PROJECTION users_of_days;

ALTER TABLE session_stats_15m MODIFY SETTING deduplicate_merge_projection_mode = 'rebuild';

ALTER TABLE session_stats_15m ADD PROJECTION IF NOT EXISTS days
(
    SELECT
        toDate(bucket) AS day,
        sum(sessions),
        sum(duration_ms),
        min(shortest_ms),
        max(longest_ms),
        quantilesTDigestMerge(0.5, 0.95)(durations_state),
        uniqCombined64MergeState(14)(users_state)
    GROUP BY day
);

ALTER TABLE session_stats_15m MATERIALIZE PROJECTION days;

ALTER TABLE user_counts_15m MODIFY SETTING deduplicate_merge_projection_mode = 'rebuild';

-- Weeks begin on Sunday, and the first of January 1970 was a Thursday: hence the four days. A bit
-- stands for each of 256 weeks, and comes round again after nearly five years.
ALTER TABLE user_counts_15m ADD PROJECTION IF NOT EXISTS users
(
    SELECT
        user_id,
        sum(events),
        min(bucket),
        max(bucket),
        groupBitOr(bitShiftLeft(toUInt256(1), intDiv(toUInt32(bucket) + 345600, 604800) % 256))
    GROUP BY user_id
);

ALTER TABLE user_counts_15m MATERIALIZE PROJECTION users;

-- Sessions lie by user; questions about a week would read those of all time.
ALTER TABLE sessions ADD PROJECTION IF NOT EXISTS by_start
(
    SELECT started_at, ended_at, duration_ms, user_id, attributes
    ORDER BY started_at
);

ALTER TABLE sessions MATERIALIZE PROJECTION by_start;

CREATE VIEW IF NOT EXISTS daily_events
(
    day Date COMMENT 'Day of the events'' timestamps (UTC)',
    event LowCardinality(String) COMMENT 'Name of the event',
    events UInt64 COMMENT 'Number of events; may be summed',
    users UInt64 COMMENT 'Number of different users who did it that day (within about 1 %); not to be summed'
)
AS SELECT
    toDate(bucket) AS day,
    event,
    sum(event_counts_15m.events) AS events,
    finalizeAggregation(uniqCombined64MergeState(14)(users_state)) AS users
FROM event_counts_15m
GROUP BY day, event
COMMENT 'Events and different users by day (UTC) and name of the event. Outlives the events.';

CREATE VIEW IF NOT EXISTS daily_active_users
(
    day Date COMMENT 'Day of the events'' timestamps (UTC)',
    users UInt64 COMMENT 'Number of different users who did anything that day (within about 1 %); not to be summed',
    events UInt64 COMMENT 'Number of events; may be summed'
)
AS SELECT
    toDate(bucket) AS day,
    finalizeAggregation(uniqCombined64MergeState(14)(users_state)) AS users,
    sum(event_counts_15m.events) AS events
FROM event_counts_15m
GROUP BY day
COMMENT 'Different users of each day (UTC). Outlives the events.';

CREATE VIEW IF NOT EXISTS weekly_active_users
(
    week Date COMMENT 'First day of the week, a Sunday (UTC)',
    users UInt64 COMMENT 'Number of different users who did anything that week (within about 1 %); not to be summed',
    events UInt64 COMMENT 'Number of events; may be summed'
)
AS SELECT
    toStartOfWeek(toDate(bucket), 0) AS week,
    finalizeAggregation(uniqCombined64MergeState(14)(users_state)) AS users,
    sum(event_counts_15m.events) AS events
FROM event_counts_15m
GROUP BY week
COMMENT 'Different users of each week; weeks begin on Sunday (UTC). Outlives the events.';

CREATE VIEW IF NOT EXISTS monthly_active_users
(
    month Date COMMENT 'First day of the month (UTC)',
    users UInt64 COMMENT 'Number of different users who did anything that month (within about 1 %); not to be summed',
    events UInt64 COMMENT 'Number of events; may be summed'
)
AS SELECT
    toStartOfMonth(toDate(bucket)) AS month,
    finalizeAggregation(uniqCombined64MergeState(14)(users_state)) AS users,
    sum(event_counts_15m.events) AS events
FROM event_counts_15m
GROUP BY month
COMMENT 'Different users of each calendar month (UTC). Outlives the events.';

CREATE VIEW IF NOT EXISTS active_users
(
    day Date COMMENT 'Last day of the periods (UTC)',
    daily UInt64 COMMENT 'Number of different users on this day (within about 1 %)',
    weekly UInt64 COMMENT 'Number of different users on this day and the 6 before it',
    monthly UInt64 COMMENT 'Number of different users on this day and the 29 before it',
    stickiness Float64 COMMENT 'daily / monthly: how much of a month''s users come on a day'
)
AS SELECT
    day,
    uniqCombined64MergeIf(14)(state, ago = 0) AS daily,
    uniqCombined64MergeIf(14)(state, ago < 7) AS weekly,
    uniqCombined64Merge(14)(state) AS monthly,
    daily / monthly AS stickiness
FROM
(
    -- Each day counts for itself and the 29 after it. A condition on the day reaches this far, which
    -- it would not through a window function.
    SELECT came + ago AS day, ago, state
    FROM
    (
        SELECT
            toDate(bucket) AS came,
            uniqCombined64MergeState(14)(users_state) AS state
        FROM event_counts_15m
        GROUP BY came
    )
    ARRAY JOIN range(30) AS ago
)
GROUP BY day
HAVING daily > 0
COMMENT 'Different users of each day with events, of the 7 and of the 30 days that end with it (UTC). Outlives the events.';

CREATE VIEW IF NOT EXISTS daily_sessions
(
    day Date COMMENT 'Day on which the sessions began (UTC)',
    sessions UInt64 COMMENT 'Number of sessions; may be summed',
    users UInt64 COMMENT 'Number of different users with a session (within about 1 %); not to be summed',
    duration_s Float64 COMMENT 'Sum of the sessions'' durations in seconds; may be summed',
    average_s Float64 COMMENT 'Average duration in seconds; not to be summed',
    median_s Float64 COMMENT 'Median of the durations in seconds (approximate); not to be summed',
    p95_s Float64 COMMENT '95th percentile of the durations in seconds (approximate); not to be summed',
    shortest_s Float64 COMMENT 'Shortest duration in seconds',
    longest_s Float64 COMMENT 'Longest duration in seconds'
)
AS SELECT
    toDate(bucket) AS day,
    sum(session_stats_15m.sessions) AS sessions,
    finalizeAggregation(uniqCombined64MergeState(14)(users_state)) AS users,
    sum(duration_ms) / 1000 AS duration_s,
    duration_s / sessions AS average_s,
    quantilesTDigestMerge(0.5, 0.95)(durations_state)[1] / 1000 AS median_s,
    quantilesTDigestMerge(0.5, 0.95)(durations_state)[2] / 1000 AS p95_s,
    min(shortest_ms) / 1000 AS shortest_s,
    max(longest_ms) / 1000 AS longest_s
FROM session_stats_15m
GROUP BY day
COMMENT 'Completed sessions by the day on which they began (UTC): how many, of how many users, how long. Outlives the events.';

CREATE VIEW IF NOT EXISTS weekly_sessions
(
    week Date COMMENT 'First day of the week in which the sessions began, a Sunday (UTC)',
    sessions UInt64 COMMENT 'Number of sessions; may be summed',
    users UInt64 COMMENT 'Number of different users with a session (within about 1 %); not to be summed',
    duration_s Float64 COMMENT 'Sum of the sessions'' durations in seconds; may be summed',
    average_s Float64 COMMENT 'Average duration in seconds; not to be summed',
    median_s Float64 COMMENT 'Median of the durations in seconds (approximate); not to be summed',
    p95_s Float64 COMMENT '95th percentile of the durations in seconds (approximate); not to be summed',
    shortest_s Float64 COMMENT 'Shortest duration in seconds',
    longest_s Float64 COMMENT 'Longest duration in seconds'
)
AS SELECT
    toStartOfWeek(toDate(bucket), 0) AS week,
    sum(session_stats_15m.sessions) AS sessions,
    finalizeAggregation(uniqCombined64MergeState(14)(users_state)) AS users,
    sum(duration_ms) / 1000 AS duration_s,
    duration_s / sessions AS average_s,
    quantilesTDigestMerge(0.5, 0.95)(durations_state)[1] / 1000 AS median_s,
    quantilesTDigestMerge(0.5, 0.95)(durations_state)[2] / 1000 AS p95_s,
    min(shortest_ms) / 1000 AS shortest_s,
    max(longest_ms) / 1000 AS longest_s
FROM session_stats_15m
GROUP BY week
COMMENT 'Completed sessions by the week in which they began; weeks begin on Sunday (UTC). Outlives the events.';

CREATE VIEW IF NOT EXISTS users
(
    user_id String COMMENT 'The user, as the client named it',
    first_seen DateTime('UTC') COMMENT 'Quarter of an hour (UTC) of the user''s first event, by its timestamp',
    last_seen DateTime('UTC') COMMENT 'Quarter of an hour (UTC) of the user''s last event, by its timestamp',
    events UInt64 COMMENT 'Number of the user''s events'
)
AS SELECT
    user_id,
    min(bucket) AS first_seen,
    max(bucket) AS last_seen,
    sum(user_counts_15m.events) AS events
FROM user_counts_15m
GROUP BY user_id
COMMENT 'Every user once, with the first and the last event. What TRACK_USER_COUNTS_MONTHS (25) months from their receipt have taken is not counted.';

CREATE VIEW IF NOT EXISTS weekly_retention
(
    cohort Date COMMENT 'Week of the users'' first event, a Sunday (UTC)',
    weeks_later UInt16 COMMENT 'How many weeks after it; 0 is the cohort''s own week',
    users UInt64 COMMENT 'Number of the cohort''s users who did anything in that week',
    cohort_users UInt64 COMMENT 'Number of users in the cohort',
    share Float64 COMMENT 'users / cohort_users'
)
AS SELECT
    toDate(greatest(toInt32(first_week) * 7 - 4, 0)) AS cohort,
    weeks_later,
    count() AS users,
    max(users) OVER (PARTITION BY first_week) AS cohort_users,
    users / cohort_users AS share
FROM
(
    SELECT
        intDiv(toUInt32(first_seen) + 345600, 604800) AS first_week,
        -- Positions of bits are found in words of 64.
        arrayJoin(arrayFlatten(arrayMap(
            word -> arrayMap(
                position -> 64 * word + position,
                bitPositionsToArray(toUInt64(
                    bitAnd(bitShiftRight(weeks_bits, 64 * word), 18446744073709551615)
                ))
            ),
            range(4)
        ))) AS week_bit,
        toUInt16((week_bit + 256 - first_week % 256) % 256) AS weeks_later
    FROM
    (
        SELECT
            user_id,
            min(bucket) AS first_seen,
            groupBitOr(bitShiftLeft(toUInt256(1), intDiv(toUInt32(bucket) + 345600, 604800) % 256)) AS weeks_bits
        FROM user_counts_15m
        GROUP BY user_id
    )
)
GROUP BY first_week, weeks_later
COMMENT 'How many of those who came first in a week came again in the weeks after it, as far as anybody did; weeks begin on Sunday (UTC). Right for users whose events lie within 256 weeks.';

CREATE VIEW IF NOT EXISTS weekly_new_users
(
    week Date COMMENT 'First day of the week, a Sunday (UTC)',
    users UInt64 COMMENT 'Number of users who did anything in that week',
    new_users UInt64 COMMENT 'Those whose first event lies in that week',
    returning_users UInt64 COMMENT 'Those who had come before'
)
AS SELECT
    cohort + 7 * weeks_later AS week,
    sum(weekly_retention.users) AS users,
    sumIf(weekly_retention.users, weeks_later = 0) AS new_users,
    users - new_users AS returning_users
FROM weekly_retention
GROUP BY week
COMMENT 'New and returning users of each week; weeks begin on Sunday (UTC).';
