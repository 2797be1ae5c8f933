"""What Grafana and Metabase send to ClickHouse, where the programs themselves cannot run.

In: nothing. Out: statements, written as the two write them: Grafana's macros filled in as its data
source grafana-clickhouse-datasource does it (`pkg/macros`), Metabase's as its driver for ClickHouse
(sql-jdbc, names quoted by backticks, time by `toStartOf…` of `toDateTime`). Never: a statement that
changes something.
"""

from __future__ import annotations

# Over the native port, with the time limit that the data source sends along.
GRAFANA_SETTINGS = {"max_execution_time": 60}
GRAFANA = (
    # The test of the connection, and what fills the lists of the query builder.
    "SELECT 1",
    "SHOW DATABASES",
    "SHOW TABLES FROM `track`",
    'DESC TABLE "track"."daily_active_users" SETTINGS describe_compact_output = 1',
    'DESC TABLE "track"."events" SETTINGS describe_compact_output = 1',
    "SELECT DISTINCT arrayJoin(JSONAllPaths(metadata)) FROM (SELECT metadata FROM track.events "
    "WHERE toDate(timestamp) = '2025-04-03' LIMIT 1000)",
    # A panel: SELECT $__timeInterval(bucket) AS time, …  WHERE $__timeFilter(bucket)
    "SELECT toStartOfInterval(toDateTime(bucket), INTERVAL 3600 second) AS time, event, "
    "sum(events) AS events FROM track.event_counts WHERE bucket >= toDateTime(1743638400) AND "
    "bucket <= toDateTime(1743724799) GROUP BY time, event ORDER BY time",
    # $__dateFilter(day)
    "SELECT day AS time, users FROM track.daily_active_users WHERE day >= toDate('2025-03-30') AND "
    "day <= toDate('2025-04-05') ORDER BY day",
    # $__timeInterval_ms(timestamp), $__timeFilter_ms(timestamp)
    "SELECT toStartOfInterval(toDateTime64(timestamp, 3), INTERVAL 60000 millisecond) AS time, "
    "count() FROM track.events WHERE timestamp >= fromUnixTimestamp64Milli(1743638400000) AND "
    "timestamp <= fromUnixTimestamp64Milli(1743724799000) GROUP BY time ORDER BY time",
    # The builder's table of rows, as it quotes them.
    'SELECT "started_at" as "time", "user_id", "duration_ms" FROM "track"."sessions" WHERE ( time '
    ">= toDateTime(1743638400) AND time <= toDateTime(1743724799) ) ORDER BY time DESC LIMIT 100",
)

METABASE = (
    "SELECT currentUser() AS user, timezone() AS timezone, version() AS version",
    "SELECT name, engine, comment FROM system.tables WHERE database IN ('track') ORDER BY name",
    "SELECT table, name, type, position, default_kind, comment, is_in_primary_key FROM "
    "system.columns WHERE database = 'track' ORDER BY table, position",
    "SELECT TRUE AS `_` FROM `track`.`sessions` WHERE 1 <> 1 LIMIT 0",
    # It looks at ten thousand rows of each table to guess what a column holds.
    "SELECT `source`.`substring1` AS `substring1`, `source`.`event` AS `event` FROM (SELECT "
    "substring(toString(`track`.`events`.`user_id`), 1, 1234) AS `substring1`, "
    "`track`.`events`.`event` AS `event` FROM `track`.`events`) AS `source` LIMIT 10000",
    "SELECT `track`.`daily_events`.`event` AS `event`, sum(`track`.`daily_events`.`events`) AS "
    "`sum` FROM `track`.`daily_events` WHERE (`track`.`daily_events`.`day` >= "
    "parseDateTimeBestEffort('2025-03-30')) AND (`track`.`daily_events`.`day` < "
    "parseDateTimeBestEffort('2025-04-06')) GROUP BY `track`.`daily_events`.`event` ORDER BY "
    "`track`.`daily_events`.`event` ASC",
    "SELECT toStartOfMonth(toDateTime(`track`.`sessions`.`started_at`)) AS `started_at`, count(*) "
    "AS `count`, quantile(0.95)(`track`.`sessions`.`duration_ms`) AS `percentile` FROM "
    "`track`.`sessions` WHERE `track`.`sessions`.`started_at` >= "
    "parseDateTimeBestEffort('2025-03-01 00:00:00.000') GROUP BY "
    "toStartOfMonth(toDateTime(`track`.`sessions`.`started_at`)) ORDER BY "
    "toStartOfMonth(toDateTime(`track`.`sessions`.`started_at`)) ASC",
    "SELECT toMonday(toDateTime(`track`.`daily_active_users`.`day`)) AS `day`, "
    "avg(`track`.`daily_active_users`.`users`) AS `avg` FROM `track`.`daily_active_users` GROUP BY "
    "toMonday(toDateTime(`track`.`daily_active_users`.`day`)) ORDER BY `day` ASC",
)
