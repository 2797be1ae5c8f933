"""Sends the given events as CloudEvents over HTTP, in the mode that is asked for.

What no answer came to, and what is to come again later, is sent again; what is refused is not.
"""

import datetime
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
from cloudevents.core.bindings import http
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

given = json.loads(Path(sys.argv[1]).read_text())
failed: dict[str, str] = {}
url = given["url"] + "/cloudevents"
session = requests.Session()
session.headers["Authorization"] = f"Bearer {given['key']}"


def cloudevent(event: dict[str, Any]) -> CloudEvent:
    return CloudEvent(
        attributes={
            "id": event["id"],
            "source": "/player",
            "type": event["event"],
            "subject": event["user"],
            "time": datetime.datetime.fromisoformat(event["at"]),
            "datacontenttype": "application/json",
        },
        data={"n": event["n"], "client": "cloudevents"},
    )


def messages() -> Iterator[tuple[list[str], dict[str, str], bytes]]:
    """Give requests: the ids of their events, headers and body."""
    events = given["events"]
    if given["mode"] == "batch":
        for start in range(0, len(events), given["batch"]):
            part = events[start : start + given["batch"]]
            body = b"[%b]" % b",".join(JSONFormat().write(cloudevent(each)) for each in part)
            media = {"Content-Type": "application/cloudevents-batch+json"}
            yield [each["id"] for each in part], media, body
        return
    write = {"binary": http.to_binary_event, "structured": http.to_structured_event}[given["mode"]]
    for each in events:
        message = write(cloudevent(each))
        yield [each["id"]], message.headers, message.body


def send(headers: dict[str, str], body: bytes) -> str:
    """Send a request until it is taken or refused; return why it has failed, or nothing."""
    problem = ""
    for _ in range(given["retries"] + 1):
        try:
            answer = session.post(
                given["url"] + "/cloudevents",
                data=body,
                headers=headers,
                timeout=given["timeout_s"],
            )
        except requests.RequestException as error:
            problem = str(error)
            continue
        if answer.status_code == 200:
            return ""
        problem = str(answer.text)
        if "Retry-After" not in answer.headers:
            return problem
        time.sleep(int(answer.headers["Retry-After"]))
    return problem


for ids, headers, body in messages():
    problem = send(headers, body)
    if problem:
        failed.update(dict.fromkeys(ids, problem))
print(json.dumps({"failed": failed}))
