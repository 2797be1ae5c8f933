from hypothesis import given
from hypothesis import strategies as st

from contracts.events import Reason
from contracts.rows import content_of, headers_of, rejected_row

CONTENT = (
    st.none()
    | st.binary(max_size=40)
    | st.text(max_size=40).map(lambda text: text.encode("utf-8", "replace"))
)


@given(CONTENT, CONTENT, st.lists(st.tuples(st.text(max_size=9), CONTENT), max_size=4))
def test_what_is_kept_of_a_rejected_record_is_what_was_sent(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]]
) -> None:
    row = rejected_row(
        reason=Reason.INVALID_JSON,
        message="",
        source="",
        topic="t",
        partition=0,
        offset=0,
        received_at=0,
        key=key,
        value=value,
        headers=headers,
    )
    assert row.whole
    assert content_of(row.key, row.key_encoding) == key
    assert content_of(row.value, row.value_encoding) == value
    assert headers_of(row.headers) == headers
