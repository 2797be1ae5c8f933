"""Sends the given events through aiokafka, each as often as is asked for."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer


async def send(given: dict[str, Any]) -> None:
    async with AIOKafkaProducer(
        bootstrap_servers=given["kafka"], acks="all", enable_idempotence=True
    ) as producer:
        for _ in range(given["times"]):
            waiting = [
                await producer.send(
                    given["topic"],
                    key=event["user"].encode(),
                    value=json.dumps(
                        {
                            "event": event["event"],
                            "user_id": event["user"],
                            "timestamp": event["at"],
                            "event_id": event["id"],
                            "metadata": {"n": event["n"], "client": "aiokafka"},
                        }
                    ).encode(),
                )
                for event in given["events"]
            ]
            await asyncio.gather(*waiting)


asyncio.run(send(json.loads(Path(sys.argv[1]).read_text())))
print(json.dumps({"failed": {}}))
