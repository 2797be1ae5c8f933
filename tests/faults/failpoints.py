"""Every failpoint there is, by the service that passes it: none is chosen by hand.

In: what the modules declare. Out: names. Never: a name that stands here alone; a test compares
them with the code.

A command runs beside no load, and once: its own tests kill it at each of its places
(`tests/cli/repair/test_repair.py`, `tests/cli/test_rejected.py`, `tests/cli/parquet/`,
`tests/cli/forgetting/test_cut_off.py`), and no scenario does.
"""

from __future__ import annotations

from collections.abc import Mapping

from cli.forgetting import run as forgetting
from cli.parquet import export, loading
from cli.rejected import replay
from cli.repair import run as repair
from ingest import publisher
from processors.sessionizer import owner, restore, transactions
from processors.writer import app as writer_app
from processors.writer import owner as writer_owner

FAILPOINTS: Mapping[str, tuple[str, ...]] = {
    "serve": publisher.FAILPOINTS,
    "sessionizer": (*transactions.FAILPOINTS, *owner.FAILPOINTS, *restore.FAILPOINTS),
    "writer": (*writer_owner.FAILPOINTS, *writer_app.FAILPOINTS),
}

OF_COMMANDS: tuple[str, ...] = (
    *repair.FAILPOINTS,
    *replay.FAILPOINTS,
    *export.FAILPOINTS,
    *loading.FAILPOINTS,
    *forgetting.FAILPOINTS,
)
