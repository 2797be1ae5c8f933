"""Sends the given events as CloudEvents through Kafka, in the mode that is asked for."""

import datetime
import json
import sys
from pathlib import Path

from cloudevents.core.bindings import kafka
from cloudevents.core.v1.event import CloudEvent
from confluent_kafka import Producer

given = json.loads(Path(sys.argv[1]).read_text())
write = {"binary": kafka.to_binary_event, "structured": kafka.to_structured_event}[given["mode"]]
producer = Producer(
    {"bootstrap.servers": given["kafka"], "acks": "all", "partitioner": "murmur2_random"}
)
for event in given["events"]:
    message = write(
        CloudEvent(
            attributes={
                "id": event["id"],
                "source": "/player",
                "type": event["event"],
                "subject": event["user"],
                "time": datetime.datetime.fromisoformat(event["at"]),
                "datacontenttype": "application/json",
                "partitionkey": event["user"],
            },
            data={"n": event["n"], "client": "cloudevents"},
        )
    )
    producer.produce(
        given["topic"], key=message.key, value=message.value, headers=dict(message.headers)
    )
    producer.poll(0)
print(json.dumps({"failed": {}, "left": producer.flush(30)}))
