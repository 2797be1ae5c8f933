"""A ClickHouse with the tables, and the store on it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from cli.migrations import apply_migrations, create_database, read_migrations
from query.store import Store, open_store
from runtime.clickhouse import AsyncClient, connect
from runtime.settings import Settings


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[AsyncClient]:
    """A database with the tables, dropped afterwards."""
    outside = await connect(settings, database="default")
    await create_database(outside, settings.namespace)
    inside = await connect(settings)
    try:
        await apply_migrations(inside, read_migrations())
        yield inside
    finally:
        await inside.close()
        await outside.command(f"DROP DATABASE {settings.namespace} SYNC")
        await outside.close()


@pytest.fixture
async def store(settings: Settings, client: AsyncClient) -> AsyncIterator[Store]:
    """The store over that database."""
    async with open_store(settings) as opened:
        yield opened


def without_kafka(settings: Settings) -> Settings:
    """Settings of a service that does not look how fresh it is; `test_freshness` does."""
    return replace(settings, kafka="")
