"""Keys: what a caller shows to send or to ask, and the file that knows them by their hashes.

In: the text of a file, or the bytes that a caller showed. Out: keys. Never: a secret kept, or
quoted in a message.

A secret is 192 random bits, so its plain SHA-256 is enough: nobody can try that many, and there is
no dictionary to try. A slow hash is for passwords that people think of.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

_PREFIX = "track_"  # so that people, and scanners of published code, recognize one
_RANDOM_BYTES = 24
_HEADING = """\
# Keys of Track; `track keys` changes this file, running services read it again.
# name  scopes  SHA-256 of the key  made at
"""
_NAME = re.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DIGEST = re.compile("[0-9a-f]{64}")
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_MOST_BYTES = 1024 * 1024


class KeysError(Exception):
    """A file of keys that cannot be used; the message says where and why, without quoting it."""


class Scope(StrEnum):
    """What a key is good for."""

    WRITE = "write"
    READ = "read"


@dataclass(frozen=True, slots=True)
class Key:
    """A key, without its secret.

    Attributes:
        name: how people call it; it becomes the `source` of what is sent with it.
        scopes: what it is good for.
        digest: the SHA-256 of its secret, in hexadecimal digits.
        made_at: when it was made.
    """

    name: str
    scopes: frozenset[Scope]
    digest: str
    made_at: datetime


def make_key(name: str, scopes: Iterable[Scope], now: datetime) -> tuple[Key, str]:
    """Return a new key and its secret, which is kept nowhere.

    Raises:
        KeysError: the name is not one that a key may have.
    """
    if _NAME.fullmatch(name) is None:
        raise KeysError(
            "a name is 1 to 64 letters, digits, dots, dashes and underscores, beginning with a "
            "letter or a digit"
        )
    secret = _PREFIX + secrets.token_hex(_RANDOM_BYTES)
    made_at = now.astimezone(UTC).replace(microsecond=0)
    return Key(name, frozenset(scopes), digest_of(secret.encode()), made_at), secret


def digest_of(secret: bytes) -> str:
    """Return the hash that stands for a secret."""
    return hashlib.sha256(secret).hexdigest()


def encode_keys(keys: Iterable[Key]) -> str:
    """Return the text of the file that knows these keys."""
    return _HEADING + "".join(f"{_line_of(key)}\n" for key in keys)


def parse_keys(text: str) -> tuple[Key, ...]:
    """Return the keys that the text of a file knows, in its order.

    Raises:
        KeysError: a line is not a key, or two keys share a name or a secret.
    """
    keys = tuple(_parse_lines(text))
    for what, values in (
        ("name", [key.name for key in keys]),
        ("secret", [key.digest for key in keys]),
    ):
        if len(set(values)) < len(values):
            raise KeysError(f"two keys have the same {what}")
    return keys


def read_keys(path: Path) -> tuple[Key, ...]:
    """Return the keys in a file.

    Raises:
        KeysError: it cannot be read, or is not a file of keys.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise KeysError(f"it cannot be read: {error.strerror}") from error
    if len(content) > _MOST_BYTES:
        raise KeysError("it is over 1 MiB")
    try:
        return parse_keys(content.decode())
    except UnicodeDecodeError as error:
        raise KeysError("it is not UTF-8") from error


def _line_of(key: Key) -> str:
    scopes = ",".join(scope for scope in Scope if scope in key.scopes)
    return f"{key.name} {scopes} {key.digest} {key.made_at:{_TIME}}"


def _parse_lines(text: str) -> Iterator[Key]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip() and not line.startswith("#"):
            key = _parse_line(line)
            if key is None:
                raise KeysError(f"line {number} is not a key")
            yield key


def _parse_line(line: str) -> Key | None:
    words = line.split()
    if len(words) != 4:
        return None
    name, scopes, digest, made_at = words
    try:
        scope_set = frozenset(Scope(scope) for scope in scopes.split(","))
        time = datetime.strptime(made_at, _TIME).replace(tzinfo=UTC)
    except ValueError:
        return None
    if _NAME.fullmatch(name) is None or _DIGEST.fullmatch(digest) is None:
        return None
    return Key(name, scope_set, digest, time)
