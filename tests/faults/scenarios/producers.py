"""Producers outside that use transactions: aborted ones, and one that nobody ends."""

from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaProducer

from tests.faults.ledger import Lane, Outcome
from tests.faults.registry import scenario
from tests.faults.trial import Trial

_PER_TRANSACTION = 20
_OPEN_FOR_S = 20


@scenario()
def aborted_transactions(trial: Trial) -> None:
    """A producer commits every other transaction and aborts the rest: holes in the offsets."""
    asyncio.run(_send_transactions(trial, 30))


@scenario()
def a_transaction_that_nobody_ends(trial: Trial) -> None:
    """A producer leaves its transaction open and is gone; readers wait until the broker aborts it.

    Everything behind it waits in the log for as long as its time-out, and no longer.
    """
    asyncio.run(_leave_open(trial))
    trial.sleep(_OPEN_FOR_S)


async def _send_transactions(trial: Trial, count: int) -> None:
    lane = trial.ledger.open_lane()
    async with _producer(trial, "every-other") as producer:
        for turn in range(count):
            await producer.begin_transaction()
            numbers = await _send(trial, producer, lane)
            if turn % 2:
                await producer.abort_transaction()
            else:
                await producer.commit_transaction()
            for number in numbers:
                if turn % 2:
                    lane.refuse(number)
                else:
                    lane.note(number, Outcome.ACKNOWLEDGED)


async def _leave_open(trial: Trial) -> None:
    lane = trial.ledger.open_lane()
    producer = _producer(trial, "left-open")
    await producer.start()
    await producer.begin_transaction()
    for number in await _send(trial, producer, lane):
        lane.refuse(number)
    await producer._sender.close()
    await producer.client.close()
    producer._closed = True


def _producer(trial: Trial, name: str) -> AIOKafkaProducer:
    return AIOKafkaProducer(
        bootstrap_servers=trial.settings.kafka,
        transactional_id=f"{trial.settings.namespace}-{name}",
        transaction_timeout_ms=1000 * _OPEN_FOR_S,
    )


async def _send(trial: Trial, producer: AIOKafkaProducer, lane: Lane) -> list[int]:
    """Send some events into the transaction that is open; return their numbers."""
    numbers = []
    for _ in range(_PER_TRANSACTION):
        user = trial.random.randrange(200)
        number = lane.begin(user)
        lane.attempts += 1
        user_id, event_id = trial.ledger.user_id(user), lane.event_id(number)
        name = trial.random.choice(("play", "stop"))
        value = f'{{"event":"{name}","user_id":"{user_id}","event_id":"{event_id}"}}'
        await producer.send_and_wait(trial.topics.events, value.encode(), key=user_id.encode())
        numbers.append(number)
    return numbers
