-- Blocks arrive several times a second and partition, so parts are small. With the default of 5
-- ClickHouse merges three of them at a time, and rewrites a row fifty times within its first
-- minutes; with 10 it is six times, and still no more than a few parts remain.

ALTER TABLE events MODIFY SETTING merge_selector_base = 10;

ALTER TABLE sessions MODIFY SETTING merge_selector_base = 10;

ALTER TABLE event_counts_15m MODIFY SETTING merge_selector_base = 10;

ALTER TABLE user_counts_15m MODIFY SETTING merge_selector_base = 10;

ALTER TABLE session_stats_15m MODIFY SETTING merge_selector_base = 10;
