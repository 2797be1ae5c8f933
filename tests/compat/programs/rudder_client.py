"""Sends the given events, and prints what it could not send."""

import datetime
import json
import sys
from pathlib import Path

import rudderstack.analytics as analytics

given = json.loads(Path(sys.argv[1]).read_text())
failed: dict[str, str] = {}


def keep(error: Exception, batch: list[dict[str, str]]) -> None:
    failed.update({each["messageId"]: str(error) for each in batch})


analytics.dataPlaneUrl = given["url"]
analytics.write_key = given["key"]
analytics.on_error = keep
analytics.max_retries = given["retries"]
analytics.timeout = given["timeout_s"]
analytics.gzip = given["gzip"]
for event in given["events"]:
    analytics.track(
        event["user"],
        event["event"],
        {"n": event["n"], "client": "rudder"},
        timestamp=datetime.datetime.fromisoformat(event["at"]),
        message_id=event["id"],
    )
for call, arguments in given["calls"]:
    getattr(analytics, call)(**arguments)
analytics.shutdown()
print(json.dumps({"failed": failed}))
