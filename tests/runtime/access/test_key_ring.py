"""The keys in force: what a change of the file does, and what damage does not."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

import pytest
from anyio import wait_all_tasks_blocked

import runtime.access.key_ring as module
from runtime.access.key_ring import KeyRing
from runtime.access.keys import Key, KeysError, Scope, encode_keys, make_key
from tests.runtime.access.test_keys import NOW

pytestmark = pytest.mark.anyio


def put(path: Path, *keys: Key) -> None:
    draft = path.with_name("draft")
    draft.write_text(encode_keys(keys))
    draft.replace(path)


def write(path: Path, *keys: Key) -> None:
    """Write into the file that is there, as some editors do."""
    path.write_text(encode_keys(keys) if keys else "")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys"


@pytest.fixture
def web() -> tuple[Key, bytes]:
    key, secret = make_key("web", [Scope.WRITE], NOW)
    return key, secret.encode()


def test_without_a_file_there_are_no_keys_until_there_is_one(
    path: Path, web: tuple[Key, bytes]
) -> None:
    ring = KeyRing(path)
    ring.look()
    assert ring.keys is None
    assert ring.find([web[1]]) is None
    put(path, web[0])
    ring.look()
    assert ring.find([b"other", web[1]]) == web[0]


def test_a_file_without_keys_lets_nobody_in(path: Path) -> None:
    put(path)
    assert KeyRing(path).keys == {}


def test_a_changed_file_is_read_again(path: Path, web: tuple[Key, bytes]) -> None:
    put(path, web[0])
    ring = KeyRing(path)
    before = ring.keys
    ring.look()
    assert ring.keys is before
    app, secret = make_key("app", [Scope.WRITE], NOW)
    put(path, web[0], app)
    ring.look()
    assert ring.keys is not before
    assert ring.find([secret.encode()]) == app
    put(path, app)
    ring.look()
    assert ring.find([web[1]]) is None


@pytest.mark.parametrize("damage", ["cut", "empty line of garbage", "folder", "gone"])
def test_damage_leaves_the_last_good_keys_and_is_said_once(
    path: Path, web: tuple[Key, bytes], caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    put(path, web[0])
    ring = KeyRing(path)
    if damage == "cut":
        os.truncate(path, path.stat().st_size - 30)
    elif damage == "gone":
        path.unlink()
    elif damage == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_text(f"{web[1].decode()}\n")
    for _ in range(3):
        ring.look()
    assert ring.find([web[1]]) == web[0]
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert str(path) in record.getMessage()
    assert web[1].decode() not in record.getMessage()

    if damage == "folder":
        path.rmdir()
    put(path)
    ring.look()
    assert ring.keys == {}


def test_damage_at_the_start_is_an_error(path: Path) -> None:
    path.write_text("nothing of ours\n")
    with pytest.raises(KeysError):
        KeyRing(path)


async def test_it_looks_by_itself(
    path: Path, web: tuple[Key, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.01)
    ring = KeyRing(path)
    async with ring.watched():
        put(path, web[0])
        async with asyncio.timeout(5):
            while ring.keys is None:  # noqa: ASYNC110  # what is watched has no event
                await asyncio.sleep(0.01)
    assert ring.find([web[1]]) == web[0]


async def test_a_file_that_is_being_written_is_not_read(
    path: Path, web: tuple[Key, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An editor empties a file and then writes: nobody is shut out between the two."""
    put(path, web[0])
    ring = KeyRing(path)
    looks: asyncio.Queue[None] = asyncio.Queue()

    async def wait_for_a_look(_: float) -> None:
        await looks.get()

    async def look() -> None:
        looks.put_nowait(None)
        await wait_all_tasks_blocked()

    monkeypatch.setattr(asyncio, "sleep", wait_for_a_look)
    async with ring.watched():
        await wait_all_tasks_blocked()
        write(path)
        await look()
        assert ring.find([web[1]]) == web[0]
        write(path, web[0])
        await look()
        await look()
        assert ring.find([web[1]]) == web[0]
        write(path)
        await look()
        await look()
        assert ring.find([web[1]]) is None
