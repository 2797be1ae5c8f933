"""The rules on how far tables may be, named after their boundary cases."""

from __future__ import annotations

import dataclasses

import pytest

from contracts.timestamps import DAY_MS
from processors.writer.ranges import Intent, decode_intent, encode_intent, token_of
from processors.writer.standing import (
    FaultError,
    Standing,
    doubtful_from,
    is_expired,
    missing_in_rollup,
    require_possible,
)

_FRESH = Standing(
    committed=None,
    intent=None,
    log_start=0,
    log_end=0,
    rows=None,
    refused=None,
    rollups={"counts": None},
)
_LEVEL = dataclasses.replace(
    _FRESH, committed=10, log_end=50, rows=9, refused=None, rollups={"counts": 9}
)
_INTENT = Intent(end=19, since=0)


def test_a_new_group_with_empty_tables_begins_at_the_log_s_beginning() -> None:
    standing = dataclasses.replace(_FRESH, log_start=7, log_end=9)
    require_possible("p", standing)
    assert standing.first == 7
    assert doubtful_from(standing) is None


@pytest.mark.parametrize(
    "standing",
    [
        dataclasses.replace(_FRESH, rows=3),
        dataclasses.replace(_FRESH, refused=3),
        dataclasses.replace(_FRESH, rollups={"counts": 0}),
        dataclasses.replace(_LEVEL, log_start=11),
        dataclasses.replace(_LEVEL, log_end=9),
        dataclasses.replace(_LEVEL, rows=10),
        dataclasses.replace(_LEVEL, refused=10),
        dataclasses.replace(_LEVEL, rollups={"counts": 10}),
        dataclasses.replace(_LEVEL, intent=_INTENT, rows=20),
        dataclasses.replace(_LEVEL, intent=_INTENT, rollups={"counts": 20}),
        dataclasses.replace(_LEVEL, intent=_INTENT, log_end=19),
    ],
)
def test_what_cannot_be_names_the_command_that_repairs(standing: Standing) -> None:
    with pytest.raises(FaultError, match=r"^p: .* Run `track repair`"):
        require_possible("p", standing)


@pytest.mark.parametrize(
    "standing",
    [
        _LEVEL,
        dataclasses.replace(_LEVEL, log_end=10, log_start=10),
        dataclasses.replace(_LEVEL, rows=5, refused=9),
        dataclasses.replace(_LEVEL, intent=_INTENT),
        dataclasses.replace(_LEVEL, intent=_INTENT, rows=19),
        dataclasses.replace(_LEVEL, intent=_INTENT, rows=19, rollups={"counts": 19}),
        dataclasses.replace(_LEVEL, intent=_INTENT, log_end=20),
    ],
)
def test_what_can_be(standing: Standing) -> None:
    require_possible("p", standing)
    assert doubtful_from(standing) is None


def test_a_base_table_that_is_behind_is_in_doubt_up_to_the_committed_offset() -> None:
    assert doubtful_from(dataclasses.replace(_LEVEL, rows=8)) == 9
    assert doubtful_from(dataclasses.replace(_LEVEL, rows=None)) == 0
    assert doubtful_from(dataclasses.replace(_LEVEL, rows=None, log_start=10)) is None


def test_a_rollup_lacks_what_lies_above_its_height() -> None:
    assert missing_in_rollup(9, 9) is None
    assert missing_in_rollup(12, 9) is None
    assert missing_in_rollup(None, None) is None
    assert missing_in_rollup(5, 9) == (6, 9)
    assert missing_in_rollup(None, 9) == (0, 9)


def test_a_row_is_expired_only_after_its_days() -> None:
    line = b'{"received_at":1000}'
    assert not is_expired(line, 1, 1000 + DAY_MS)
    assert is_expired(line, 1, 1001 + DAY_MS)
    assert not is_expired(line, 0, 1001 + 1000 * DAY_MS)
    assert not is_expired(b'{"received_at":"soon"}', 1, 1001 + DAY_MS)


def test_an_intent_survives_the_commit_and_no_metadata_is_none() -> None:
    assert decode_intent(encode_intent(_INTENT)) == _INTENT
    assert decode_intent("") is None
    with pytest.raises(ValueError, match="JSON"):
        decode_intent("mine")


def test_a_token_names_log_topic_partition_and_range() -> None:
    assert token_of("ab", "t.accepted", 3, 5, 9) == "ab:t.accepted:3:5-9"
