"""`track keys`: make, list and revoke the keys that callers show.

In: the file of the keys, a name, scopes. Out: the file, changed as a whole or not at all, and the
secret of a new key, shown once. Never: two commands that overwrite each other's change.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from runtime.access.keys import Key, KeysError, Scope, encode_keys, make_key, read_keys

_NEW_FILE_MODE = 0o600

Keys = tuple[Key, ...]


def add_key(path: Path, name: str, scopes: Iterable[Scope], now: datetime) -> str:
    """Add a key; return its secret.

    Raises:
        KeysError: the name is taken or none, or the file cannot be used.
    """
    key, secret = make_key(name, scopes, now)

    def add(keys: Keys) -> Keys:
        if any(each.name == name for each in keys):
            raise KeysError(
                f"one is called {name} already; take another name, and revoke the old key when "
                "nobody uses it any more"
            )
        return *keys, key

    _change(path, add)
    return secret


def revoke_key(path: Path, name: str) -> None:
    """Remove a key; running services refuse it within a second.

    Raises:
        KeysError: there is none of that name, or the file cannot be used.
    """

    def remove(keys: Keys) -> Keys:
        left = tuple(each for each in keys if each.name != name)
        if len(left) == len(keys):
            raise KeysError(f"none is called {name!r}; `track keys list` shows them")
        return left

    _change(path, remove)


def list_keys(path: Path) -> list[str]:
    """Return a line for each key.

    Raises:
        KeysError: the file cannot be used.
    """
    keys = read_keys(path) if path.exists() else ()
    width = max((len(key.name) for key in keys), default=0)
    return [
        f"{key.name:{width}}  {' '.join(sorted(key.scopes)):10}  {key.made_at:%Y-%m-%d %H:%M} UTC"
        for key in keys
    ]


def _change(path: Path, change: Callable[[Keys], Keys]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _lock(path):
            _write(path, encode_keys(change(read_keys(path) if path.exists() else ())))
    except OSError as error:
        raise KeysError(f"it cannot be changed: {error.strerror}") from error


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold the lock beside the file, which itself is replaced; it is free when the command ends."""
    with path.with_name(f"{path.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write(path: Path, text: str) -> None:
    """Put a new file in the place of the old one, with the old one's mode and owner."""
    draft = path.with_name(f"{path.name}.draft")
    draft.unlink(missing_ok=True)
    number = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _NEW_FILE_MODE)
    with os.fdopen(number, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(number)
        if path.exists():
            old = path.stat()
            # A service that reads the file may be another user's.
            os.fchown(number, old.st_uid, old.st_gid)
            os.fchmod(number, old.st_mode & 0o777)
    draft.replace(path)
