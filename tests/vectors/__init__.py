"""The rules as cases, and how a test reads them."""

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def cases(name: str) -> list[Any]:
    """Return the cases of a file; each has a name."""
    return list(json.loads((HERE / f"{name}.json").read_text())["cases"])


def ids(name: str) -> list[str]:
    """Return the names of the cases, for pytest."""
    return [str(case["name"]) for case in cases(name)]
