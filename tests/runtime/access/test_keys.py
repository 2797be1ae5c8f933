"""Keys and their file: what it may hold, and that it holds no secret."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from runtime.access.keys import (
    Key,
    KeysError,
    Scope,
    digest_of,
    encode_keys,
    make_key,
    parse_keys,
    read_keys,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, 678, UTC)
DIGEST = "0" * 64


def made(name: str, *scopes: Scope) -> Key:
    return make_key(name, scopes, NOW)[0]


def test_the_file_gives_back_what_was_written() -> None:
    keys = (made("web", Scope.WRITE), made("both", Scope.READ, Scope.WRITE), made("r", Scope.READ))
    assert parse_keys(encode_keys(keys)) == keys


def test_the_file_knows_a_secret_by_its_hash_alone() -> None:
    key, secret = make_key("web", [Scope.WRITE], NOW)
    text = encode_keys([key])
    assert secret not in text
    assert digest_of(secret.encode()) in text
    assert "write" in text.splitlines()[-1].split()


def test_secrets_are_long_and_none_is_like_another() -> None:
    secrets = {make_key("web", [Scope.WRITE], NOW)[1] for _ in range(1_000)}
    assert len(secrets) == 1_000
    assert all(len(each) == len("track_") + 48 and each.isidentifier() for each in secrets)


def test_the_time_is_in_utc_whatever_it_came_in() -> None:
    elsewhere = NOW.astimezone(timezone(timedelta(hours=9)))
    key, _ = make_key("web", [Scope.WRITE], elsewhere)
    assert encode_keys([key]).endswith(" 2026-01-02T03:04:05Z\n")


@pytest.mark.parametrize("name", ["a", "A.b_c-9", "9" * 64])
def test_names(name: str) -> None:
    assert parse_keys(encode_keys([made(name, Scope.READ)]))[0].name == name


@pytest.mark.parametrize(
    "name", ["", "a b", "-a", ".a", "a/b", "a\nb", "a\n", "ä", "a" * 65, "a#", "\x1b[2J"]
)
def test_names_that_no_key_has(name: str) -> None:
    with pytest.raises(KeysError, match="a name is"):
        make_key(name, [Scope.READ], NOW)


@pytest.mark.parametrize(
    "line",
    [
        "web",
        f"web write {DIGEST}",
        f"web write {DIGEST} 2026-01-02T03:04:05Z more",
        f"web admin {DIGEST} 2026-01-02T03:04:05Z",
        f"web write, {DIGEST} 2026-01-02T03:04:05Z",
        f"web write {DIGEST[1:]} 2026-01-02T03:04:05Z",
        f"web write {'A' * 64} 2026-01-02T03:04:05Z",
        f"web write {DIGEST} yesterday",
        f"w/b write {DIGEST} 2026-01-02T03:04:05Z",
    ],
)
def test_a_line_that_is_no_key_is_named_and_not_quoted(line: str) -> None:
    text = f"# keys\n\n{line}\n"
    with pytest.raises(KeysError, match=r"^line 3 is not a key$"):
        parse_keys(text)


def test_comments_and_empty_lines_are_nothing() -> None:
    assert parse_keys("\n# web write\n  \n") == ()


def test_two_keys_are_two() -> None:
    one, two = made("web", Scope.WRITE), made("web", Scope.WRITE)
    with pytest.raises(KeysError, match="the same name"):
        parse_keys(encode_keys([one, two]))
    same = Key("app", one.scopes, one.digest, one.made_at)
    with pytest.raises(KeysError, match="the same secret"):
        parse_keys(encode_keys([one, same]))


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"\xff\xfe", "not UTF-8"), (b"#" * (1024 * 1024 + 1), "over 1 MiB"), (b"\0" * 99, "line 1")],
)
def test_files_that_are_none_of_ours(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "keys"
    path.write_bytes(content)
    with pytest.raises(KeysError, match=says):
        read_keys(path)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(KeysError, match="cannot be read: No such file"):
        read_keys(tmp_path / "keys")
    with pytest.raises(KeysError, match="cannot be read: Is a directory"):
        read_keys(tmp_path)
