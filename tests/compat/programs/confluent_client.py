"""Sends the given events through librdkafka, by its own partitioner or the one that is named."""

import json
import sys
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

given = json.loads(Path(sys.argv[1]).read_text())
failed: dict[str, str] = {}
partitions: dict[str, int] = {}
producer = Producer(
    {"bootstrap.servers": given["kafka"], "acks": "all", "enable.idempotence": True}
    | given["settings"]
)


def keep(error: Any, message: Any) -> None:
    key = message.key().decode()
    if error is not None:
        failed[key] = str(error)
    partitions[key] = message.partition()


for _ in range(given["times"]):
    for event in given["events"]:
        producer.produce(
            given["topic"],
            key=event["user"],
            value=json.dumps(
                {
                    "event": event["event"],
                    "user_id": event["user"],
                    "timestamp": event["at"],
                    "event_id": event["id"],
                    "metadata": {"n": event["n"], "client": "confluent-kafka"},
                }
            ),
            on_delivery=keep,
        )
        producer.poll(0)
    producer.flush(30)
print(json.dumps({"failed": failed, "partitions": partitions}))
