from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from contracts.admission import admit, readdress
from contracts.events import Event, Rejected, encode_event, parse_event
from contracts.metadata import MAX_METADATA_BYTES, encode_json, parse_json
from contracts.timestamps import format_timestamp, parse_timestamp
from tests.vectors import cases, ids

RECEIVED_AT = 1_737_201_600_000  # 2025-01-18T12:00:00Z


def event(metadata: str | None, timestamp: str | None) -> Event:
    parsed = parse_event(body(metadata, timestamp))
    assert not isinstance(parsed, Rejected), parsed
    return parsed


def body(metadata: str | None, timestamp: str | None) -> bytes:
    fields = ['"event":"play"', '"user_id":"u"']
    if timestamp is not None:
        fields.append(f'"timestamp":"{timestamp}"')
    if metadata is not None:
        fields.append(f'"metadata":{metadata}')
    return ("{" + ",".join(fields) + "}").encode()


@pytest.mark.parametrize("case", cases("admission"), ids=ids("admission"))
def test_vectors(case: dict[str, Any]) -> None:
    timestamp, metadata = admit(event(case["metadata"], case["timestamp"]), RECEIVED_AT)
    assert timestamp == parse_timestamp(case["admitted_timestamp"])
    admitted = parse_json(metadata)
    assert encode_json(admitted) == case["admitted_metadata"].encode()
    assert len(encode_json(admitted)) == case["size"]


@pytest.mark.parametrize("case", cases("admission"), ids=ids("admission"))
def test_admitting_an_admitted_event_changes_nothing(case: dict[str, Any]) -> None:
    first = admit(event(case["metadata"], case["timestamp"]), RECEIVED_AT)
    again = Event("play", "u", format_timestamp(first[0]), Raw(first[1]))
    assert admit(again, RECEIVED_AT) == first
    moved = parse_event(
        encode_event(readdress(event(case["metadata"], case["timestamp"]), RECEIVED_AT))
    )
    assert not isinstance(moved, Rejected)
    assert admit(moved, RECEIVED_AT + 5000) == first


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(), max_size=600),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=12,
)


@given(
    st.dictionaries(st.text(max_size=20), json_values, max_size=12),
    st.sampled_from([None, "2025-01-18T11:00:00Z", "2025-01-18T13:00:00.123456+00:30"]),
    st.booleans(),
)
def test_any_metadata_is_admitted_within_the_limit_and_once(
    metadata: dict[str, Any], timestamp: str | None, escaped: bool
) -> None:
    import json

    text = json.dumps(metadata, ensure_ascii=escaped)
    try:
        sent = body(text, timestamp)
    except UnicodeEncodeError:  # a lone surrogate has no UTF-8; escaped it can be sent
        sent = body(json.dumps(metadata), timestamp)
    parsed = parse_event(sent)
    assert not isinstance(parsed, Rejected), parsed
    first = admit(parsed, RECEIVED_AT)
    assert len(encode_json(parse_json(first[1]))) <= MAX_METADATA_BYTES
    assert (
        admit(Event("play", "u", format_timestamp(first[0]), Raw(first[1])), RECEIVED_AT) == first
    )
