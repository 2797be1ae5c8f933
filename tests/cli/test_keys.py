"""`track keys`: as a person types it, and several at once."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.keys import add_key, list_keys, revoke_key
from cli.main import track as main_command
from runtime.access.keys import KeysError, Scope, digest_of, read_keys
from tests.environments import foreign_environment

TRACK = str(Path(sys.executable).with_name("track"))
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def track(home: Path, *arguments: str, **settings: str) -> tuple[int, str, str]:
    environment = {**foreign_environment(), "TRACK_HOME": str(home), **settings}
    done = subprocess.run(
        [TRACK, "keys", *arguments], env=environment, capture_output=True, text=True, timeout=30,
        check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_a_key_is_made_shown_once_listed_and_revoked(tmp_path: Path) -> None:
    code, secret, words = track(tmp_path, "new", "website", "--scope", "write")
    assert code == 0
    assert re.fullmatch(r"track_[0-9a-f]{48}\n", secret), "what is piped on is the key alone"
    assert "shown once" in words
    assert "ask for a key" in words
    file = tmp_path / "keys"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert secret.strip() not in file.read_text()
    (key,) = read_keys(file)
    assert (key.name, key.scopes) == ("website", frozenset([Scope.WRITE]))
    assert key.digest == digest_of(secret.strip().encode())

    code, _, words = track(tmp_path, "new", "both", "--scope", "read", "--scope", "write")
    assert code == 0
    assert "ask for a key" not in words
    code, listed, _ = track(tmp_path, "list")
    assert code == 0
    assert [line.split()[0] for line in listed.splitlines()] == ["website", "both"]
    assert "read write" in listed
    assert key.digest not in listed

    assert track(tmp_path, "revoke", "website")[0] == 0
    assert [each.name for each in read_keys(file)] == ["both"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("new", "taken", "--scope", "read"), 1, "one is called taken already"),
        (("new", "a b", "--scope", "read"), 1, "a name is 1 to 64 letters"),
        (("new", "x\x1b[2J", "--scope", "read"), 1, "a name is 1 to 64 letters"),
        (("new", "other"), 2, "--scope"),
        (("new", "other", "--scope", "admin"), 2, "admin"),
        (("revoke", "nobody\x1b[2J"), 1, r"none is called 'nobody\x1b[2J'"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    tmp_path: Path, arguments: tuple[str, ...], code: int, says: str
) -> None:
    add_key(tmp_path / "keys", "taken", [Scope.READ], NOW)
    before = (tmp_path / "keys").read_bytes()
    runner = CliRunner(env={"TRACK_HOME": str(tmp_path), "TRACK_KEYS": None})
    done = runner.invoke(main_command, ["keys", *arguments])
    assert (done.exit_code, done.stdout) == (code, "")
    assert says in done.stderr
    assert code == 2 or len(done.stderr.splitlines()) == 1
    assert (tmp_path / "keys").read_bytes() == before


def test_the_setting_names_another_file(tmp_path: Path) -> None:
    file = tmp_path / "elsewhere" / "secret"
    assert track(tmp_path, "new", "a", "--scope", "read", TRACK_KEYS=str(file))[0] == 0
    assert [each.name for each in read_keys(file)] == ["a"]
    assert not (tmp_path / "keys").exists()


def test_a_damaged_file_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("not ours\n")
    for change in (
        lambda: add_key(file, "a", [Scope.READ], NOW),
        lambda: revoke_key(file, "a"),
        lambda: list_keys(file),
    ):
        with pytest.raises(KeysError, match="line 1 is not a key"):
            change()
    assert file.read_text() == "not ours\n"


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, _, words = track(tmp_path / "file", "new", "a", "--scope", "read")
    assert code == 1
    assert re.fullmatch(
        r"The keys in .*/keys: it cannot be changed: (Not a directory|File exists)\.\n", words
    )


def test_a_new_file_has_the_old_ones_mode(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    add_key(file, "a", [Scope.READ], NOW)
    file.chmod(0o640)
    add_key(file, "b", [Scope.READ], NOW)
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    if os.getuid() == 0:
        os.chown(file, 4711, 4712)
        revoke_key(file, "a")
        assert (file.stat().st_uid, file.stat().st_gid) == (4711, 4712)


def test_several_at_once_lose_no_key(tmp_path: Path) -> None:
    file, seen = tmp_path / "keys", []

    def change(number: int) -> None:
        for each in range(8):
            add_key(file, f"k-{number}-{each}", [Scope.WRITE], NOW)
            seen.append(len(read_keys(file)))  # never a file that is half written
        revoke_key(file, f"k-{number}-0")

    changers = [threading.Thread(target=change, args=(number,)) for number in range(4)]
    for changer in changers:
        changer.start()
    for changer in changers:
        changer.join(30)
    assert len(seen) == 32
    assert {each.name for each in read_keys(file)} == {
        f"k-{number}-{each}" for number in range(4) for each in range(1, 8)
    }
    assert not (tmp_path / "keys.draft").exists()
