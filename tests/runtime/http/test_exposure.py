"""Who may come in is decided before a service listens."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.access.key_ring import KeyRing
from runtime.access.keys import Scope, encode_keys, make_key
from runtime.http.exposure import is_of_this_machine, require_guarded
from runtime.settings import Settings
from runtime.startup import StartupError
from tests.runtime.access.test_keys import NOW


@pytest.fixture
def none(tmp_path: Path) -> KeyRing:
    return KeyRing(tmp_path / "keys")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_this_machine_needs_no_keys(none: KeyRing, host: str) -> None:
    assert "open to this machine alone" in require_guarded(Settings(host=host), none)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "nobody.invalid", "::ffff:0.0.0.0"])
def test_other_machines_do(none: KeyRing, host: str) -> None:
    assert not is_of_this_machine(host)
    with pytest.raises(StartupError, match=r"TRACK_OPEN=yes") as caught:
        require_guarded(Settings(host=host), none)
    assert len(str(caught.value).splitlines()) == 1
    assert "track keys new" in str(caught.value)


def test_unless_a_setting_says_so(none: KeyRing) -> None:
    assert "0.0.0.0" in require_guarded(Settings(host="0.0.0.0", open="yes"), none)


def test_with_keys_any_address_will_do(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, host="0.0.0.0")
    for count, words in ((0, "0 keys"), (1, "1 key in"), (2, "2 keys")):
        made = [make_key(f"k{number}", [Scope.READ], NOW)[0] for number in range(count)]
        settings.keys_file.write_text(encode_keys(made))
        assert words in require_guarded(settings, KeyRing(settings.keys_file))
