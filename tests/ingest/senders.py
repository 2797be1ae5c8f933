"""Senders that keep a ledger: what was tried over raw connections, and how it ended.

In: an address. Out: ids by their outcome. Never: a request repeated under the same id, so that each
id has one outcome.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum


class Outcome(StrEnum):
    """How a request ended."""

    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"  # an answer, but not 200
    NOT_CONNECTED = "not connected"
    BROKEN = "broken"  # sent, and no answer came
    TOO_LATE = "too late"  # sent over a kept connection that the other side had closed just before


@dataclass
class Ledger:
    """What was tried, and how it ended."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    words: Counter[bytes] = field(default_factory=Counter)

    def count(self) -> Counter[Outcome]:
        return Counter(self.outcomes.values())

    def ids(self, outcome: Outcome) -> set[str]:
        return {each for each, ended in self.outcomes.items() if ended is outcome}


async def send_until(
    over: asyncio.Event, address: tuple[str, int], ledger: Ledger, name: str, *, a_connection: int
) -> None:
    """Send event after event, so many over each connection, until it is over."""
    number = 0
    while not over.is_set():
        try:
            reader, writer = await asyncio.open_connection(*address)
        except OSError:
            ledger.outcomes[f"{name}-{number}"] = Outcome.NOT_CONNECTED
            number += 1
            await asyncio.sleep(0.01)
            continue
        for sent in range(a_connection):
            if over.is_set():
                break
            event_id = f"{name}-{number}"
            number += 1
            outcome, is_kept = await _send(reader, writer, event_id, ledger)
            if outcome is Outcome.BROKEN and sent > 0 and reader.at_eof():
                outcome = Outcome.TOO_LATE
            ledger.outcomes[event_id] = outcome
            if not is_kept:
                break
        writer.close()
        await asyncio.wait([asyncio.ensure_future(writer.wait_closed())], timeout=1)


async def _send(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, event_id: str, ledger: Ledger
) -> tuple[Outcome, bool]:
    body = b'{"event":"play","user_id":"%b","event_id":"%b"}' % ((event_id.encode(),) * 2)
    head = b"POST /track HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    try:
        writer.write(head + body)
        await writer.drain()
        async with asyncio.timeout(15):
            answer = await reader.readuntil(b"\r\n\r\n")
            length = int(answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            words = await reader.readexactly(length)
    except (OSError, asyncio.IncompleteReadError):
        return Outcome.BROKEN, False
    is_kept = b"connection: close" not in answer
    if answer.startswith(b"HTTP/1.1 200"):
        return Outcome.ACKNOWLEDGED, is_kept
    ledger.words[words] += 1
    return Outcome.REFUSED, is_kept
