"""Whatever an event holds comes back from a file: each character, type and digit."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cli.parquet.export import export
from cli.parquet.loading import import_days
from tests.cli.parquet.events import Tables, day_before

DAY = day_before(1)
STRANGE = [
    "", "\0", " ", "\t\n\r\b\f", "\\", "'", '"', "`", "{}", "%s", "NULL", "\\N",
    "é", "😀", "\u2028", "\x7f", "\x1f", "a" * 256, "🎵" * 64, '1.,2.]',
    '"1.,"', "\\1.]", "12", "-0", "1e5", "12.0", "2024-02-29",
    "2024-02-29T10:00:00Z", "true", "null", "[1,2]", '{"a":1}', "{aside:Identifier}",
]  # fmt: skip
TIMES = [0, 1, 2**31 * 1000 - 1, 2**31 * 1000, 2**32 * 1000 + 1]
# As they come from ingest: text of JSON, numbers to the digit.
METADATA = [
    '{}',
    '{"n":1,"l":[1,2]}',
    '{"n":1.0,"l":[1.0,2.0]}',
    '{"n":-0.0,"l":[0.0]}',
    '{"n":1e2,"l":[1e2,0.5]}',
    '{"n":1e20,"l":[1e20]}',
    '{"n":1e300}',
    '{"n":5e-324}',
    '{"n":1.7976931348623157e308}',
    '{"n":0.1,"l":[0.1,1]}',
    '{"n":9007199254740993.0}',
    '{"n":18446744073709551615}',
    '{"n":-9223372036854775808}',
    '{"n":9223372036854775808}',
    '{"n":true,"l":[true,false]}',
    '{"n":"1","s":"1.0","l":["1","1.0"]}',
    '{"s":"2024-02-29","n":"2024-02-29T10:00:00Z","l":["2024-02-29"]}',
    '{"l":[1,"1",1.0,"1.0",true,null,[1.0,"1.0"],{"a":1.0,"b":"1.0"}]}',
    '{"l":[{"a":1.0,"b":[2.0,{"c":3.0}]},{"a":1,"b":[2,{"c":3}]}]}',
    '{"l":[[1.0],[2,3],[]]}',
    '{"a":1,"a.b":2}',
    '{"a":{"b":{"c":{"d":1.0}}}}',
    '{"":1.0,"x":{"":2.0}}',
    '{"1.0":1.0,"\\"1.,":2.0,"[1.":3.0,"{":"1.}"}',
    '{"a":1.0,"b":"x\\",\\"c\\":2.","c":3.0}',
    '{"s":"\\\\","n":1.0,"t":"\\\\\\"1.,"}',
    '{' + ",".join(f'"k{n}":{n}.0' for n in range(150)) + "}",
    '{"s":"' + "x" * 4000 + '"}',
]  # fmt: skip

# A list without a value gets a type that ClickHouse has at hand from other rows of the block, and
# with it [null] may become [[]]; so it does when events are written.
EMPTY = ['{"l":[]}', '{"l":[null]}', '{"l":[{}]}', '{"l":[[]]}', '{"l":[[null],[]],"n":1.0}']
Same = Callable[[Sequence[Any]], Sequence[Any]]
_LIST = re.compile(r"\bArray\([^']*")
TEXT = 9  # the column of metadata's text


def _has_value(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_has_value, value))
    if isinstance(value, dict):
        return any(map(_has_value, value.values()))
    return value is not None


keys = st.text(max_size=8).filter(lambda key: "." not in key) | st.sampled_from(["s", "n", "l"])
numbers = (
    st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-99, 99).map(float)
    | st.sampled_from([2**53 + 0.0, -0.0, 1e16, 1e21, 2.0**64])
)
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=20) | st.sampled_from(STRANGE),
    lambda inner: (
        st.lists(inner, max_size=4).filter(_has_value) | st.dictionaries(keys, inner, max_size=4)
    ),
    max_leaves=12,
)


def _is_utf8(event: Any) -> bool:
    try:
        json.dumps(event, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return "\\ud" not in event["metadata"]


events = st.fixed_dictionaries(
    {
        "user_id": st.text(min_size=1, max_size=20) | st.sampled_from(STRANGE),
        "event": st.text(min_size=1, max_size=20) | st.sampled_from(STRANGE),
        "event_id": st.text(min_size=1, max_size=20),
        "source": st.sampled_from(["", "web", "é\0"]),
        "timestamp": st.integers(0, 4_000_000_000_000),
        "log_offset": st.integers(0, 2**64 - 1),
        "metadata": st.dictionaries(keys, values, max_size=6).map(json.dumps),
    }
).filter(_is_utf8)


def through_files(
    tables: Tables, folder: Path, rows_a_file: int, same: Same = lambda row: row
) -> None:
    """Export and import, and fail if a column of a row, seen through `same`, is not what it was."""
    assert export(tables.settings, folder, rows_a_file=rows_a_file)
    import_days(tables.settings, folder)
    before, after = tables.rows("events", DAY), tables.rows("imported_events", DAY)
    assert len(before) == len(after) > 0
    for one, other in zip(before, after, strict=True):
        assert same(other) == same(one)


def lists_alike(row: Sequence[Any]) -> Sequence[Any]:
    """Return a row without what its lists are of, which the other rows of a block have a say in."""
    return [_LIST.sub("List", each) if isinstance(each, str) else each for each in row]


def test_strange_texts_and_every_kind_of_number(tables: Tables, tmp_path: Path) -> None:
    tables.insert_rows(
        DAY,
        [
            *(dict.fromkeys(("user_id", "event", "event_id", "source"), text) for text in STRANGE),
            *({"timestamp": at} for at in TIMES),
            *({"metadata": text} for text in METADATA),
            *({"metadata": {"s": text, "l": [text], text.replace(".", ""): 1}} for text in STRANGE),
            {"log_offset": 2**64 - 1},
        ],
    )  # fmt: skip
    through_files(tables, tmp_path / "exports", 7)


def test_lists_without_a_value_come_back_as_such(tables: Tables, tmp_path: Path) -> None:
    tables.insert_rows(DAY, [{"metadata": text} for text in EMPTY])
    assert export(tables.settings, tmp_path)
    import_days(tables.settings, tmp_path)
    before, after = tables.rows("events", DAY), tables.rows("imported_events", DAY)
    assert [row[:TEXT] for row in after] == [row[:TEXT] for row in before]
    assert len(after) == len(EMPTY)
    for row in after:
        metadata = json.loads(row[TEXT])
        assert metadata["l"] is not None
        assert not _has_value(metadata["l"])


def test_the_two_kinds_of_numbers_are_told_apart(tables: Tables, tmp_path: Path) -> None:
    """The test above would pass if neither table knew the difference."""
    tables.insert_rows(DAY, [{"metadata": '{"n":1.0}'}, {"metadata": '{"n":1}'}])
    through_files(tables, tmp_path / "exports", 10)
    types = tables.column("imported_events", "dynamicType(metadata.n)")
    assert sorted(types) == ["Float64", "Int64"]


def arbitrary(count: int) -> list[dict[str, Any]]:
    """Return so many events, the same ones each time."""
    drawn: list[dict[str, Any]] = []

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(events)
    def draw(event: dict[str, Any]) -> None:
        drawn.append(event)

    draw()
    return drawn


def test_arbitrary_events_come_back(tables: Tables, tmp_path: Path) -> None:
    """All at once: a row needs no other to go wrong, and going through files takes a second."""
    rows = arbitrary(250)
    assert len(rows) > 200
    tables.insert_rows(DAY, rows)
    through_files(tables, tmp_path / "exports", 25, lists_alike)
