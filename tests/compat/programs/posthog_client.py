"""Sends the given events, and prints what it could not send."""

import datetime
import json
import sys
from pathlib import Path

from posthog import Posthog

given = json.loads(Path(sys.argv[1]).read_text())
failed: dict[str, str] = {}


def keep(error: Exception, batch: list[dict[str, str]]) -> None:
    failed.update({each["uuid"]: str(error) for each in batch})


posthog = Posthog(
    given["key"],
    host=given["url"],
    on_error=keep,
    max_retries=given["retries"],
    timeout=given["timeout_s"],
    gzip=given["gzip"],
    flush_interval=0.5,
)
for event in given["events"]:
    posthog.capture(
        event["event"],
        distinct_id=event["user"],
        properties={"n": event["n"], "client": "posthog"},
        timestamp=datetime.datetime.fromisoformat(event["at"]),
        uuid=event["id"],
    )
posthog.shutdown()
print(json.dumps({"failed": failed}))
