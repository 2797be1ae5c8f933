"""The keys that are in force in a running service: a file that is read again when it changes.

In: the path of a file. Out: the keys in it, and which of them a secret belongs to. Never: a door
that opens because a file is damaged or gone: the last good keys stay in force.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from runtime.access.keys import Key, KeysError, digest_of, read_keys
from runtime.settled_files import settled

LOOK_EVERY_S = 0.4

_log = logging.getLogger(__name__)
_Stamp = tuple[int, ...]


class KeyRing:
    """The keys of one file; none at all, and no questions asked, as long as there never was a file.

    Raises:
        KeysError: the file is there, but is not to be read or not a file of keys.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = _stamp_of(path)
        self._keys: Mapping[str, Key] | None = None
        if self._stamp is not None:
            self._keys = _by_digest(read_keys(path))

    @property
    def keys(self) -> Mapping[str, Key] | None:
        """The keys by their hashes, None where nobody needs one; a new mapping at each change."""
        return self._keys

    def find(self, secrets: Iterable[bytes]) -> Key | None:
        """Return the key that one of the secrets belongs to.

        Only hashes meet hashes. How long that takes may tell of the hash of a guess how much of it
        is right, and nobody can choose a guess by its hash.
        """
        keys = self._keys or {}
        return next((keys[each] for each in map(digest_of, secrets) if each in keys), None)

    def look(self) -> None:
        """Read the file again if it is another one; say so, and what is wrong with it."""
        stamp = _stamp_of(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            if stamp is None:
                raise KeysError("it is gone")
            self._keys = _by_digest(read_keys(self._path))
        except KeysError as error:
            _log.error(
                "The keys in %s stay as they were: %s. Mend the file, or remove it and make new "
                "keys with `track keys new`.",
                self._path,
                error,
            )
            return
        names = ", ".join(key.name for key in self._keys.values())
        _log.info("Read the keys in %s again: %s.", self._path, names or "none, so nobody gets in")

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Look at the file again and again, as long as the block runs.

        A change is known within a second: it is taken once the file has stayed as it is from one
        look to the next, since an editor may have emptied it and be about to write.
        """
        task = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            task.cancel()

    async def _watch(self) -> None:
        async for _ in settled(lambda: _stamp_of(self._path), LOOK_EVERY_S):
            self.look()


def _by_digest(keys: Iterable[Key]) -> Mapping[str, Key]:
    return {key.digest: key for key in keys}


def _stamp_of(path: Path) -> _Stamp | None:
    """Return what tells one content from another, None where there is no file."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        return (error.errno or 0,)
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
