"""Ids: made in order, read from a header, written into one."""

from __future__ import annotations

import uuid

import pytest

from ingest.ids import EventIds, header_of, parse_idempotency_key

NOW_MS = 1_737_210_600_000


def test_an_id_is_a_uuid_of_version_7_and_says_when() -> None:
    made = uuid.UUID(EventIds().next(NOW_MS))
    assert made.version == 7
    assert made.variant == uuid.RFC_4122
    assert made.int >> 80 == NOW_MS


def test_ids_grow_within_a_millisecond_and_beyond_its_counter() -> None:
    ids = EventIds()
    made = [ids.next(NOW_MS) for _ in range(10_000)]
    assert made == sorted(set(made))
    assert uuid.UUID(made[-1]).int >> 80 == NOW_MS + 2


def test_ids_never_go_back_where_the_clock_does() -> None:
    ids = EventIds()
    made = [ids.next(NOW_MS), ids.next(NOW_MS - 60_000), ids.next(NOW_MS + 1)]
    assert made == sorted(made)


def test_ids_of_two_processes_differ() -> None:
    assert EventIds().next(NOW_MS) != EventIds().next(NOW_MS)


@pytest.mark.parametrize(
    ("value", "key"),
    [
        (b"plain", "plain"),
        (b" \t plain \t", "plain"),
        (b'"quoted, with a comma"', "quoted, with a comma"),
        (rb'"\"\\"', '"\\'),
        (b'""', ""),
        (b"", ""),
        (b'a"b', 'a"b'),
        ("日本".encode(), "日本"),
        (b"\xe9", "é"),
        (b'"open', None),
        (b'"', None),
        (b'"a" "b"', None),
        (rb'"a\b"', None),
        (rb'"a\"', None),
    ],
)
def test_an_idempotency_key_is_a_quoted_or_a_bare_string(value: bytes, key: str | None) -> None:
    assert parse_idempotency_key(value) == key


@pytest.mark.parametrize(
    ("event_id", "header"),
    [
        ("AZaz09-._~", b"AZaz09-._~"),
        ("a b/c?d=e&f%", b"a%20b%2Fc%3Fd%3De%26f%25"),
        ("\r\nSet-Cookie: x", b"%0D%0ASet-Cookie%3A%20x"),
        ("日\0😀", b"%E6%97%A5%00%F0%9F%98%80"),
        ("id\n", b"id%0A"),
    ],
)
def test_only_unreserved_characters_stay_in_a_header(event_id: str, header: bytes) -> None:
    assert header_of(event_id) == header
