"""What of the tables follows the settings: how long rows are kept, how many tokens are remembered.

In: settings. Out: the tables altered where they differ. Never: a table rewritten when nothing
changed.
"""

from __future__ import annotations

from collections.abc import Mapping

from contracts.tables import DEDUPLICATED, deduplication_window
from runtime.clickhouse import AsyncClient
from runtime.settings import Settings

_SELECT_ENGINES = """
SELECT name, engine_full FROM system.tables WHERE database = currentDatabase() AND engine_full != ''
"""
_WINDOW = "non_replicated_deduplication_window"


def ttl_expressions(settings: Settings) -> Mapping[str, str]:
    """Return each table's TTL as ClickHouse writes it; empty = kept for ever.

    Everything counts from the receipt: history that is read in today is not gone tomorrow.
    """
    return {
        "events": _ttl("toDateTime(received_at)", "Day", settings.events_days),
        "sessions": _ttl("toDateTime(received_at)", "Day", settings.sessions_days),
        "rejected_events": _ttl("toDateTime(received_at)", "Day", settings.rejected_days),
        "event_counts_15m": _ttl("last_received_at", "Day", settings.counts_days),
        "user_counts_15m": _ttl("last_received_at", "Month", settings.user_counts_months),
        "session_stats_15m": _ttl("last_received_at", "Day", settings.sessions_days),
    }


async def apply_table_settings(client: AsyncClient, settings: Settings) -> list[str]:
    """Alter the tables that differ from the settings; return what was changed, as sentences."""
    engines: dict[str, str] = dict((await client.query(_SELECT_ENGINES)).result_rows)
    changes = {
        **_find_ttl_changes(engines, ttl_expressions(settings)),
        **_find_window_changes(
            engines, deduplication_window(settings.partitions, settings.inserts_per_second)
        ),
    }
    for statement in changes:
        await client.command(statement)
    return list(changes.values())


def _ttl(column: str, unit: str, count: int) -> str:
    return f"{column} + toInterval{unit}({count})" if count else ""


def _find_ttl_changes(engines: Mapping[str, str], wanted: Mapping[str, str]) -> dict[str, str]:
    changes = {}
    for table, ttl in wanted.items():
        found = _ttl_of(engines[table])
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
