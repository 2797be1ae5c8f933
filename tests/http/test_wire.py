"""A running service under mutated bytes: always an answer, in order, and nothing left behind."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote

import httpx
import pytest

from tests.fuzz.budget import Budget
from tests.http.wire import (
    NOT_HTTP,
    Answer,
    Request,
    answers_in,
    good_request,
    in_pieces,
    is_whole,
    mutated,
)
from tests.ingest.service import Service, read_events

pytestmark = pytest.mark.anyio

AT_ONCE = 40
ANSWERS_WITHIN_S = 20.0
SILENT_FOR_S = 0.25  # a request that was cut may wait for the rest of it
MOST_GROWTH_KB = 30_000
LAST = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


async def talk(service: Service, pieces: Iterable[bytes], silent_s: float) -> bytes:
    """Send the pieces and return what comes back, until the end or until nothing comes.

    An answer of which a part has come is waited for.
    """
    reader, writer = await asyncio.open_connection(*service.address)
    received, ends_at = b"", time.monotonic() + ANSWERS_WITHIN_S
    try:
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0)
        while True:
            try:
                data = await asyncio.wait_for(reader.read(65_536), silent_s)
            except TimeoutError:
                if is_whole(received) or time.monotonic() > ends_at:
                    break
                continue
            if not data:
                break
            received += data
    except ConnectionError:
        pass
    finally:
        writer.transport.abort()
    return received


def check_shape(answer: Answer) -> None:
    """No answer may be a 500, and each error has the one shape of all errors."""
    assert answer.status != 500, answer
    if answer.status >= 400 and answer.body:
        problem = json.loads(answer.body)
        assert problem["status"] == "error", answer
        assert problem["code"], answer
        assert problem["message"], answer


def memory_kb(service: Service) -> int:
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


def check_process(service: Service) -> None:
    assert service.process.poll() is None, "the process has ended"
    log = service.log.read_text()
    assert "Traceback" not in log, log[-3000:]
    assert " ERROR " not in log, log[-3000:]


async def test_pipelined_requests_get_their_own_answers_in_order(
    served: Service, budget: Budget
) -> None:
    rng = random.Random(budget.seed)
    acknowledged: set[str] = set()

    async def one(number: int) -> None:
        requests = [good_request(rng, f"{number}-{each}") for each in range(rng.randrange(1, 9))]
        tail, wanted = LAST, 200
        if rng.random() < 0.5:
            tail, wanted = rng.choice(NOT_HTTP), 400
        requests.append(Request(tail, wanted))
        wire = b"".join(each.wire for each in requests)
        received = await talk(served, in_pieces(rng, wire), ANSWERS_WITHIN_S)
        bodiless = [at for at, each in enumerate(requests) if not each.has_body]
        answers = answers_in(received, bodiless)
        told = [(each.status, named(each)) for each in answers]
        assert told == [(each.status, each.event_id) for each in requests], (budget.seed, wire)
        for answer in answers:
            check_shape(answer)
        acknowledged.update(each.event_id for each in requests if each.event_id)

    await run_all(one, budget, 300)
    check_process(served)
    logged = [each.event_id for each in await asyncio.to_thread(read_events, served.settings)]
    assert acknowledged <= set(logged)
    assert len([each for each in logged if each in acknowledged]) == len(acknowledged)


def named(answer: Answer) -> str | None:
    event_id = answer.headers.get(b"x-event-id")
    return None if event_id is None else unquote(event_id.decode())


async def test_mutated_requests_end_in_answers(served: Service, budget: Budget) -> None:
    rng = random.Random(budget.seed)

    async def one(number: int) -> None:
        requests = [good_request(rng, f"m-{number}-{each}") for each in range(rng.randrange(1, 4))]
        requests.append(Request(rng.choice((LAST, LAST, *NOT_HTTP)), 0))
        # Where it is not known which answer is that to a HEAD, there can be none.
        wire = mutated(rng, b"".join(each.wire for each in requests if each.has_body))
        received = await talk(served, in_pieces(rng, wire), SILENT_FOR_S)
        try:
            for answer in answers_in(received):
                check_shape(answer)
        except (AssertionError, ValueError) as error:
            raise AssertionError(f"seed {budget.seed}: {wire!r} gave {received!r}") from error

    await run_all(one, budget, 400)
    before = memory_kb(served)
    await run_all(one, budget, 400)
    assert memory_kb(served) - before < MOST_GROWTH_KB
    check_process(served)
    assert (
        await asyncio.to_thread(httpx.get, served.url + "/readyz", timeout=5)
    ).status_code == 200


async def run_all(one: object, budget: Budget, count: int) -> None:
    """Run numbered cases, several at once: so many, or as long as the budget says."""
    assert callable(one)
    ends_at = time.monotonic() + budget.seconds
    numbers = iter(range(10**9))

    async def work() -> None:
        for number in numbers:
            if number >= count and time.monotonic() > ends_at:
                return
            await one(number)

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
