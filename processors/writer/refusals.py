"""Rows that ClickHouse refuses: found with the table's twin, and kept in `rejected_events`.

In: a block that was refused, and a way to try rows on the twin. Out: the refused rows with
ClickHouse's reason, as lines for `rejected_events`. Never: a part of a block in a real table.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import msgspec

from contracts.events import Reason
from contracts.rows import encode_row, rejected_row
from processors.writer.blocks import Block, prefix_of, without_prefix
from processors.writer.standing import FaultError

_MAX_MESSAGE_LENGTH = 1000

Try = Callable[[Block], Awaitable[str | None]]
"""Tries a block on the twin: None if it takes it, else why not."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row that the table does not take: where it stands in its block, and why."""

    index: int
    message: str


async def find_refusals(block: Block, try_rows: Try) -> list[Refusal]:
    """Return the rows of a block that its table refuses, by halving.

    Raises:
        FaultError: the twin takes each half of what it refuses: no row is to blame.
    """
    return await _search(block, range(len(block.lines)), try_rows)


async def _search(block: Block, indexes: Sequence[int], try_rows: Try) -> list[Refusal]:
    message = await try_rows(block.only(indexes))
    if message is None:
        return []
    if len(indexes) == 1:
        return [Refusal(indexes[0], message)]
    half = len(indexes) // 2
    found = await _search(block, indexes[:half], try_rows)
    found += await _search(block, indexes[half:], try_rows)
    if not found:
        raise FaultError(
            f"ClickHouse refuses the rows at offsets {block.offsets[indexes[0]]} to "
            f"{block.offsets[indexes[-1]]} together, but takes each half of them: {message}"
        )
    return found


def refusal_lines(
    block: Block, refusals: Sequence[Refusal], *, prefix: bytes, topic: str, partition: int
) -> Block:
    """Return the block of `rejected_events` that keeps the refused rows, one row for each."""
    opening = prefix_of(partition, topic)
    lines = []
    for refusal in refusals:
        value = without_prefix(block.lines[refusal.index], prefix)
        named = _names_in(value)
        row = rejected_row(
            reason=Reason.REFUSED_BY_STORAGE,
            message=refusal.message[:_MAX_MESSAGE_LENGTH],
            source=named.source,
            topic=topic,
            partition=partition,
            offset=block.offsets[refusal.index],
            received_at=named.received_at or block.timestamps[refusal.index],
            key=named.user_id.encode() if named.user_id else None,
            value=value,
            headers=(),
        )
        offset = block.offsets[refusal.index]
        lines.append(b"%b%d,%b\n" % (opening, offset, encode_row(row)[1:]))
    indexes = [refusal.index for refusal in refusals]
    kept = block.only(indexes)
    return Block(block.first, block.last, lines, kept.offsets, kept.timestamps)


class _Names(msgspec.Struct):
    user_id: str = ""
    source: str = ""
    received_at: int = 0


def _names_in(value: bytes) -> _Names:
    try:
        return msgspec.json.decode(value, type=_Names)
    except msgspec.MsgspecError:
        return _Names()
