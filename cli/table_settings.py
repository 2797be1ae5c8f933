"""What of the tables follows the settings: how long rows are kept, how many tokens are remembered.

In: settings. Out: the tables altered where they differ. Never: a table rewritten when nothing
changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from contracts.tables import BASE_TABLES, DEDUPLICATED, deduplication_window
from runtime.clickhouse import AsyncClient
from runtime.settings import Settings

_SELECT_ENGINES = """
SELECT name, engine_full FROM system.tables WHERE database = currentDatabase() AND engine_full != ''
"""
_WINDOW = "non_replicated_deduplication_window"
_BASE, _ROLLUP = "toDateTime(received_at)", "last_received_at"
_SHORTEST_MONTH_DAYS = 28


@dataclass(frozen=True, slots=True)
class Retention:
    """For how many days or months after `received` a table keeps a row; 0 = for ever."""

    received: str
    unit: Literal["Day", "Month"]
    count: int

    @property
    def ttl(self) -> str:
        """The TTL as ClickHouse writes it; empty = kept for ever."""
        return f"{self.received} + toInterval{self.unit}({self.count})" if self.count else ""

    @property
    def days(self) -> int:
        """For how many days a row is kept at the least; 0 = for ever."""
        return self.count if self.unit == "Day" else self.count * _SHORTEST_MONTH_DAYS


def retention(settings: Settings) -> Mapping[str, Retention]:
    """Return for how long each table keeps its rows.

    Everything counts from the receipt: history that is read in today is not gone tomorrow.
    """
    kept = {
        "events": Retention(_BASE, "Day", settings.events_days),
        "sessions": Retention(_BASE, "Day", settings.sessions_days),
        "rejected_events": Retention(_BASE, "Day", settings.rejected_days),
        "event_counts_15m": Retention(_ROLLUP, "Day", settings.counts_days),
        "user_counts_15m": Retention(_ROLLUP, "Month", settings.user_counts_months),
        "session_stats_15m": Retention(_ROLLUP, "Day", settings.sessions_days),
    }
    return kept | {base.forgotten: kept[base.name] for base in BASE_TABLES}


async def apply_table_settings(client: AsyncClient, settings: Settings) -> list[str]:
    """Alter the tables that differ from the settings; return what was changed, as sentences."""
    engines: dict[str, str] = dict((await client.query(_SELECT_ENGINES)).result_rows)
    changes = {
        **_find_ttl_changes(engines, retention(settings)),
        **_find_window_changes(
            engines, deduplication_window(settings.partitions, settings.inserts_per_second)
        ),
    }
    for statement in changes:
        await client.command(statement)
    return list(changes.values())


def _find_ttl_changes(
    engines: Mapping[str, str], wanted: Mapping[str, Retention]
) -> dict[str, str]:
    changes = {}
    for table, kept in wanted.items():
        found, ttl = _ttl_of(engines[table]), kept.ttl
        if ttl and found != ttl:
            changes[f"ALTER TABLE {table} MODIFY TTL {ttl}"] = f"{table}: kept until {ttl}"
        elif found and not ttl:
            changes[f"ALTER TABLE {table} REMOVE TTL"] = f"{table}: kept for ever"
    return changes


def _find_window_changes(engines: Mapping[str, str], window: int) -> dict[str, str]:
    return {
        f"ALTER TABLE {table} MODIFY SETTING {_WINDOW} = {window}": (
            f"{table}: remembers {window} tokens"
        )
        for table in DEDUPLICATED
        if f" {_WINDOW} = {window}," not in f"{engines[table]},"
    }


def _ttl_of(engine: str) -> str:
    return engine.partition(" TTL ")[2].partition(" SETTINGS ")[0]
