"""Environments of the programs that tests start.

In: the environment of the tests, settings. Out: an environment that holds no setting of ours but
those given. Never: a setting of the person who runs the tests.
"""

from __future__ import annotations

import dataclasses
import os

from runtime.settings import Settings


def foreign_environment() -> dict[str, str]:
    """Return the environment without any setting of ours."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TRACK_")}


def environment_of(settings: Settings) -> dict[str, str]:
    """Return the environment that tells a program all of these settings, and no other of ours."""
    named = {
        each.metadata["name"]: str(getattr(settings, each.name))
        for each in dataclasses.fields(settings)
    }
    return {**foreign_environment(), **named}
