"""How a process says that it works: a file that appears.

In: `TRACK_READY_FILE`, named by who started the process; unset where nobody waits. Out: that file.
Never: the file of a process that has not begun its work.
"""

from __future__ import annotations

import os
from pathlib import Path

READY_FILE = "TRACK_READY_FILE"


def announce_ready() -> None:
    """Say that the process has begun its work; saying it again changes nothing."""
    path = os.environ.get(READY_FILE)
    if path:
        Path(path).touch()
