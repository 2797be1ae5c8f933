"""A machine without a browser: said aloud, and no excuse in CI."""

from __future__ import annotations

import pytest

from tests.compat.installed import browser


@pytest.mark.parametrize(
    ("ci", "ends"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)]
)
def test_without_a_browser(
    monkeypatch: pytest.MonkeyPatch, ci: str, ends: type[BaseException]
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("CI", ci)
    with pytest.raises(ends, match="No browser on this machine"):
        browser()
