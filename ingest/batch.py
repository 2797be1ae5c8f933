"""The endpoint of every route but POST /track: translate, check, publish, wait, answer.

In: an ASGI request to a route of the table. Out: 200 once Kafka has acknowledged all of it, with
what was wrong by the place in the batch; an error where nothing could be read, or where a request
about one event has none. Never: a rule of a dialect; an answer before Kafka's.

An event of a batch that is none is reported and published all the same, so that it is kept as
rejected: the sessionizer judges by the same admission, and finds the same.
"""

from __future__ import annotations

import asyncio
import time
from asyncio import Future
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from starlette.types import Receive, Scope

from contracts.events import MAX_EVENT_ID_LENGTH, Reason, Rejected
from contracts.records import parse_record
from ingest.answers import UNAVAILABLE, Answer, error, refused, success
from ingest.dialects.batches import LINES
from ingest.dialects.dialect import RecordHeaders, Refused, Sent
from ingest.dialects.lines import Lines
from ingest.dialects.table import MAX_BATCH_EVENTS, Entry
from ingest.endpoint import Endpoint, TakesAll
from ingest.ids import client_key
from ingest.publisher import NO_HEADERS
from ingest.reading import Hold, Reader
from ingest.requests import media_type_of, without_body
from ingest.values import value_of, value_with_id
from runtime.access.guards import AUTHORIZATION, KEY_HEADERS, NOBODY, Caller, Guard, Refusal
from runtime.access.keys import Scope as KeyScope

# Of what is no event; a batch of Kafka's has room for it, and it is seen to be too large.
MOST_KEPT_BYTES = 512 * 1024
TOO_MANY = error(
    Reason.TOO_LARGE, f"The batch has more than {MAX_BATCH_EVENTS} events; send it in parts"
)
NOTHING_RENAMED: Mapping[bytes, bytes] = {}
_BYTES_AT_ONCE = 128 * 1024
_SHOW_KEYS = AUTHORIZATION, KEY_HEADERS[KeyScope.WRITE]


@dataclass(slots=True)
class _Intake:
    """What has been taken of a request so far.

    Attributes:
        key: the `Idempotency-Key`; with `:` and its place it is the id of an event that has none.
        is_single: whether the request is about one event, whose id is the key as it is.
    """

    key: str | None
    caller: Caller = NOBODY
    is_single: bool = False
    count: int = 0
    refused: list[Refused] = field(default_factory=list)
    waiting: set[Future[bool]] = field(default_factory=set)

    def id_of(self, index: int) -> str:
        """Return the id of an event that has none of its own, where there is a key."""
        return str(self.key) if self.is_single else f"{self.key}:{index}"

    async def is_logged(self) -> bool:
        """Wait for Kafka; tell whether it has everything."""
        return all([await each for each in self.waiting])


class Batch(Endpoint):
    """The endpoint of one route."""

    def __init__(
        self,
        entry: Entry,
        publisher: TakesAll,
        guard: Guard,
        reader: Reader,
        renamed: Mapping[bytes, bytes] = NOTHING_RENAMED,
    ) -> None:
        super().__init__(entry.method, entry.path)
        self.rejections: Counter[str] = Counter()
        self._entry = entry
        self._lines = (entry.bodies.types or frozenset()) & LINES
        self._put = publisher.put
        self._put_anywhere = publisher.put_anywhere
        self._check = guard.check
        self._reader = reader
        self._renamed = renamed

    async def answer(
        self, scope: Scope, receive: Receive, headers: dict[bytes, bytes]
    ) -> Answer | None:
        """Take what a request says, and return the answer; None where nobody waits for one."""
        refusal = self._refusal_of(scope, headers)
        if refusal is not None:
            return without_body(refusal, headers)
        key = _key_of(headers)
        if isinstance(key, Rejected):
            return without_body(error(key.reason, key.message), headers)
        intake = _Intake(key)
        take = self._take_lines if self._is_in_lines(headers) else self._take_whole
        ended = await take(scope, receive, headers, intake)
        if not isinstance(ended, bytes):
            return ended
        if not await intake.is_logged():
            return UNAVAILABLE
        accepted = intake.count - len(intake.refused)
        body = self._entry.confirm(accepted, intake.refused)
        return success(body, self._entry.media, intake.caller.answer_headers)

    def _refusal_of(self, scope: Scope, headers: dict[bytes, bytes]) -> Answer | None:
        """Return the answer to a request that is refused before its body is read.

        One that shows no key may still do so in its body, where its dialect has a place for it.
        """
        if not self._entry.shows_key_in_body or any(name in headers for name in _SHOW_KEYS):
            caller = self._check(scope, headers, 0)
            if isinstance(caller, Refusal):
                return refused(caller)
        return self._entry.bodies.refusal_of(headers, scope["headers"])

    def _is_in_lines(self, headers: Mapping[bytes, bytes]) -> bool:
        if not self._lines or b"content-type" not in headers:
            return False
        return media_type_of(headers[b"content-type"])[0] in self._lines

    async def _take_whole(
        self, scope: Scope, receive: Receive, headers: dict[bytes, bytes], intake: _Intake
    ) -> bytes | Answer | None:
        """Publish what a body as a whole says; return nothing, or the answer that ends it."""
        hold = Hold()
        try:
            body = await self._reader.read(receive, headers, self._entry.bodies, hold)
            if not isinstance(body, bytes):
                return body
            return await self._take_body(body, scope, headers, intake)
        finally:
            self._reader.release(hold)

    async def _take_body(
        self, body: bytes, scope: Scope, headers: dict[bytes, bytes], intake: _Intake
    ) -> bytes | Answer:
        now_ms = time.time_ns() // 1_000_000
        query = scope["query_string"]
        said = self._entry.translate(
            Sent(scope["path"], query, headers, body, now_ms, self._renamed)
        )
        if isinstance(said, Rejected):
            return error(said.reason, said.message)
        intake.is_single = said.is_single
        answer = self._admit(scope, headers, intake, len(said.values), said.key)
        if answer is not None:
            return answer
        for number, values in enumerate(_in_turns(said.values)):
            if number:
                await asyncio.sleep(0)
            answer = self._publish(values, said.headers, intake)
            if answer is not None:
                return answer
        return b""

    async def _take_lines(
        self, scope: Scope, receive: Receive, headers: dict[bytes, bytes], intake: _Intake
    ) -> bytes | Answer | None:
        """Publish the lines of a body as they come; return nothing, or the answer that ends it."""
        lines = Lines()

        def take(values: Sequence[bytes]) -> Answer | None:
            refusal = self._admit(scope, headers, intake, len(values))
            return refusal or self._publish(values, NO_HEADERS, intake)

        ended = await self._reader.read_pieces(
            receive, headers, self._entry.bodies, lambda piece: take(lines.feed(piece))
        )
        return take(lines.finish()) or ended if isinstance(ended, bytes) else ended

    def _admit(
        self,
        scope: Scope,
        headers: Mapping[bytes, bytes],
        intake: _Intake,
        count: int,
        key: bytes | None = None,
    ) -> Answer | None:
        """Let so many events in, or return the answer to whoever may not send them."""
        if intake.count + count > MAX_BATCH_EVENTS:
            return TOO_MANY
        caller = self._check(scope, headers, count, key)
        if isinstance(caller, Refusal):
            return refused(caller)
        intake.caller = caller
        return None

    def _publish(
        self, values: Sequence[bytes], headers: RecordHeaders, intake: _Intake
    ) -> Answer | None:
        """Check the values of records, and hand all of them over.

        Returns the answer to a request whose one event is none, of which nothing is handed over.
        """
        put, waiting, index, has_key = self._put, intake.waiting, intake.count, bool(intake.key)
        own = intake.caller.record_headers
        told = [*own, *headers] if headers else own
        for value in values:
            event = parse_record(value, headers)
            if type(event) is Rejected:
                if intake.is_single:
                    return error(event.reason, event.message)
                self._reject(index, value, told, event, intake)
            else:
                if not headers:
                    if has_key and event.event_id is None:
                        value = value_with_id(value, event, intake.id_of(index))  # noqa: PLW2901
                    else:
                        value = value_of(value, event)  # noqa: PLW2901
                waiting.add(put(event.user_id, value, told))
            index += 1
        intake.count = index
        return None

    def _reject(
        self, index: int, value: bytes, headers: RecordHeaders, why: Rejected, intake: _Intake
    ) -> None:
        """Report what is no event, and keep it."""
        self.rejections[why.reason] += 1
        intake.refused.append(Refused(index, why.reason, why.message))
        intake.waiting.add(self._put_anywhere(value[:MOST_KEPT_BYTES], headers))


def _in_turns(values: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Give the values in parts that are checked without a pause: other requests have their turn."""
    start = size = 0
    for end, value in enumerate(values, 1):
        size += len(value)
        if size >= _BYTES_AT_ONCE:
            yield values[start:end]
            start, size = end, 0
    if start < len(values):
        yield values[start:]


def _key_of(headers: Mapping[bytes, bytes]) -> str | Rejected | None:
    """Return the `Idempotency-Key`, which must leave room for the places in a batch."""
    key = client_key(headers)
    if isinstance(key, str) and len(f"{key}:{MAX_BATCH_EVENTS - 1}") > MAX_EVENT_ID_LENGTH:
        most = MAX_EVENT_ID_LENGTH - len(f":{MAX_BATCH_EVENTS - 1}")
        return Rejected(
            Reason.INVALID_EVENT_ID, f"Idempotency-Key of a batch may have {most} characters"
        )
    return key
