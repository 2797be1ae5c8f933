"""`track up` with placeholders for the services: what its tests start."""

import os
import sys
from pathlib import Path

from cli.up import run_up
from runtime.settings import Settings

sys.exit(
    run_up(
        Settings.from_environment(os.environ),
        ends_with_parent="ENDS_WITH_PARENT" in os.environ,
        track=Path(__file__).with_name("placeholder"),
    )
)
