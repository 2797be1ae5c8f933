"""What a person does whose writer refuses to go on after ClickHouse has crashed: `track repair`.

In: the writers of a trial whose load has ended. Out: writers that work, and what the repair said.
Never: a repair that nobody hears of; where ClickHouse was not killed the trial asks for none.

A plain MergeTree notes a block's token before it renames the part: killed between the two, it takes
a repetition for done, and lacks the rows. The writer notices by the offsets and says so.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from runtime.settings import Settings
from tests.faults.commands import run_track
from tests.faults.services import Service

_REFUSED = 78
_BEGINS_WITHIN_S = 90.0


def repair_if_needed(
    writers: Sequence[Service], settings: Settings, folder: Path
) -> subprocess.CompletedProcess[str] | None:
    """Wait until the writers work; repair first where one says that it needs it."""
    if not any(_refuses(each) for each in writers):
        return None
    for each in writers:
        each.expected_ends.add(_REFUSED)
        each.stop()
    done = run_track(settings, "repair", "--yes")
    (folder / "repair.log").write_text(done.stdout + done.stderr)
    for each in writers:
        each.start()
    return done


def _refuses(writer: Service) -> bool:
    """Wait until the writer works, or has ended because rows are missing; return whether it has."""
    ended, deadline = len(writer.ends), time.monotonic() + _BEGINS_WITHIN_S
    while not writer.is_ready() and time.monotonic() < deadline:
        if _REFUSED in writer.ends[ended:] and "track repair" in writer.last_words():
            return True
        time.sleep(0.1)
    return False
