import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from contracts.events import Reason
from contracts.forgetting import (
    Mark,
    Marks,
    decode_mark,
    encode_mark,
    user_key,
    users_named_in,
)
from contracts.rows import AcceptedRow, encode_row, rejected_row

LOG = "0" * 31 + "1"
ADA = Mark(partition=1, offsets=(50, 100), accepted=90, forgotten_at=7)
MARKS = Marks(LOG, {user_key(LOG, "ada"): ADA})
CLOUD = [("content-type", b"application/cloudevents+json")]


def accepted(user_id: str, log_offset: int) -> bytes:
    return encode_row(AcceptedRow("e", user_id, "play", 1, 2, Raw(b"{}"), "", log_offset))


def rejected(
    partition: int, offset: int, key: bytes | None, value: bytes | None, **more: Any
) -> bytes:
    return encode_row(
        rejected_row(
            reason=Reason.INVALID_EVENT,
            message="",
            source="",
            topic="track.events",
            partition=partition,
            offset=offset,
            received_at=0,
            key=key,
            value=value,
            headers=more.get("headers", ()),
        )
    )


@given(st.text(min_size=1, max_size=256).map(lambda text: text.encode("utf-8", "replace").decode()))
def test_a_mark_names_nobody_and_is_another_in_another_log(user_id: str) -> None:
    key = user_key(LOG, user_id)
    assert key == hashlib.sha256(LOG.encode() + user_id.encode()).hexdigest()
    assert key != user_key("f" * 32, user_id)
    assert decode_mark(encode_mark(ADA)) == ADA


@pytest.mark.parametrize(
    ("user_id", "partition", "offset", "is_covered"),
    [("ada", 1, 99, True), ("ada", 1, 100, False), ("ada", 0, 50, False), ("ada", 0, 49, True),
     ("Ada", 1, 0, False)],
)  # fmt: skip
def test_a_mark_covers_what_was_received_before_it(
    user_id: str, partition: int, offset: int, is_covered: bool
) -> None:
    assert MARKS.cover(user_id, partition, offset) is is_covered
    key = user_id.encode()
    assert MARKS.cover_rejection(rejected(partition, offset, key, None)) is is_covered
    if partition == ADA.partition:
        assert MARKS.cover_row(accepted(user_id, offset)) is is_covered


def test_nobody_is_forgotten_where_there_is_no_mark() -> None:
    nobody = Marks(LOG)
    assert not nobody
    assert not nobody.cover("ada", 1, 0)
    assert not nobody.cover_row(accepted("ada", 0))
    assert not nobody.cover_rejection(rejected(1, 0, b"ada", None))


@pytest.mark.parametrize("value", [b"", b"{", b"null", b"[]", b"\xff", b'{"user_id":1}', b"{}"])
def test_what_is_no_row_is_nobodys(value: bytes) -> None:
    assert not MARKS.cover_row(value)
    assert not MARKS.cover_rejection(value)


@pytest.mark.parametrize(
    ("value", "headers", "names"),
    [
        (b'{"user_id":"ada"}', (), {"ada"}),
        (b'{"user_id":"\\u0061da","event":17}', (), {"ada"}),
        (b'{"user_id":17}', (), {"17"}),
        (b'{"user_id":"\\ud800"}', (), {"\ufffd"}),
        (b'{"user_id":null}', (), set()),
        (b'{"user_id":["ada"]}', (), set()),
        (b'{"subject":"ada"}', CLOUD, {"ada"}),
        (b"\xff", [("ce_specversion", b"1.0"), ("ce_subject", b"ada")], set()),
        (b"{}", [("ce_specversion", b"1.0"), ("ce_subject", b"ada")], {"ada"}),
        (b"nothing", (), set()),
        (None, (), set()),
    ],
)
def test_a_rejected_record_names_whom_its_key_or_its_field_names(
    value: bytes | None, headers: Any, names: set[str]
) -> None:
    assert users_named_in(None, value, headers) == names
    assert users_named_in(b"grace", value, headers) == names | {"grace"}
    assert users_named_in(b"\xff", value, headers) == names
    is_covered = MARKS.cover_rejection(rejected(1, 3, b"grace", value, headers=headers))
    assert is_covered is ("ada" in names)
