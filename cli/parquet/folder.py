"""The folder of exported events: who may use it, its manifest, and how a day comes into it whole.

In: files of a day, written as a draft. Out: the day in its place, named in the manifest. Never: two
exports at once in one folder; a file in its place that is not whole and on the disk; a file removed
that the manifest names.

    DIR/manifest.json
    DIR/day=2025-01-18/1/0000.parquet, 0001.parquet …     the first export of the day
    DIR/.draft/…                                          what is being written

The manifest is what counts. A day that is exported again gets the next number beside the old one;
then the manifest names the new files, then the old ones go. What a run that was killed has left,
and the manifest does not name, the next export removes.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import msgspec

from cli.parquet.footer import count_rows
from cli.parquet.manifest import (
    Day,
    File,
    Manifest,
    ManifestError,
    decode_manifest,
    encode_manifest,
)
from runtime.failpoints import failpoint
from runtime.startup import StartupError

_MANIFEST, _LOCK, _DRAFT = "manifest.json", ".lock", ".draft"
_CHUNK_BYTES = 1 << 20


class Folder:
    """A folder of exported events, held by this process."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read_manifest(self) -> Manifest | None:
        """Return the manifest; None where nothing was ever exported.

        Raises:
            StartupError: it cannot be read, or is not sound.
        """
        path = self.path / _MANIFEST
        try:
            return decode_manifest(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ManifestError, OSError) as error:
            raise StartupError(
                f"{path} cannot be used: {error}. Put it back from a copy of the folder, or use "
                "another folder."
            ) from error

    def take_up(self, log: str) -> Manifest:
        """Return the manifest, made if the folder is new, with nothing beside it that it lacks.

        Raises:
            StartupError: the folder has the events of another log, or its manifest is gone.
        """
        manifest = self.read_manifest()
        if manifest is None:
            if any(self.path.glob("day=*")):
                raise StartupError(
                    f"{self.path} has days, but {_MANIFEST} is not there. Put it back from a copy "
                    "of the folder, or use another folder."
                )
            manifest = Manifest.of(log)
            self.write_manifest(manifest)
        elif manifest.log != log:
            raise StartupError(
                f"{self.path} has the events of the log {manifest.log}, and this is the log {log}. "
                "Use another folder: each log has its own."
            )
        self._clear(manifest)
        return manifest

    def write_manifest(self, manifest: Manifest) -> None:
        """Put a manifest in the place of the one before, at once and on the disk."""
        draft = self.path / f"{_MANIFEST}.draft"
        with draft.open("wb") as file:
            file.write(encode_manifest(manifest))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.path / _MANIFEST)
        _sync_folder(self.path)

    def begin_draft(self) -> Path:
        """Return an empty folder for the files of a day."""
        draft = self.path / _DRAFT
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        return draft

    def publish(self, manifest: Manifest, day: date, exported: Day) -> Manifest:
        """Put the draft in its place, name it in the manifest, and remove what it replaces.

        `exported` names the draft's files without a folder; the manifest that is returned has
        their places.
        """
        before = manifest.days.get(day)
        place = self.path / f"day={day}" / str(_number_of(before) + 1)
        place.parent.mkdir(exist_ok=True)
        _sync_folder(self.path / _DRAFT)
        failpoint("export.before_rename")
        (self.path / _DRAFT).rename(place)
        _sync_folder(place.parent)
        _sync_folder(self.path)
        failpoint("export.after_rename")
        files = [
            File(f"day={day}/{place.name}/{file.name}", file.rows, file.bytes, file.sha256)
            for file in exported.files
        ]
        manifest = manifest.with_day(day, msgspec.structs.replace(exported, files=files))
        self.write_manifest(manifest)
        failpoint("export.after_manifest")
        self._clear(manifest)
        return manifest

    def find_fault(self, file: File) -> str | None:
        """Return a sentence on why a file is not what the manifest says, or None.

        All of it is read.
        """
        path = self.path / file.name
        try:
            if path.stat().st_size != file.bytes:
                return f"{path} has {path.stat().st_size:,} bytes, and must have {file.bytes:,}"
            with path.open("rb") as opened:
                if hashlib.file_digest(opened, "sha256").hexdigest() != file.sha256:
                    return f"{path} was changed: its SHA-256 is not the manifest's"
                if count_rows(opened) != file.rows:
                    return f"{path} has other rows than the manifest says"
        except FileNotFoundError:
            return f"{path} is not there"
        except (OSError, ValueError) as error:
            return f"{path} cannot be read: {error}"
        return None

    def _clear(self, manifest: Manifest) -> None:
        """Remove what a run that was cut off has left: drafts, and exports that are not named."""
        shutil.rmtree(self.path / _DRAFT, ignore_errors=True)
        for day in self.path.glob("day=*"):
            for export in day.glob("[0-9]*"):
                if not _names(manifest, f"{day.name}/{export.name}/"):
                    shutil.rmtree(export)


@contextmanager
def open_folder(path: Path) -> Iterator[Folder]:
    """Give the folder for an export, made if it is not there, to this process alone.

    Raises:
        StartupError: another process uses it, or it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise StartupError(f"{path} cannot be used: {error.strerror}. Name another one.") from error
    with _locked(path, lock, fcntl.LOCK_EX):
        yield Folder(path)


@contextmanager
def open_to_read(path: Path) -> Iterator[tuple[Folder, Manifest]]:
    """Give a folder and its manifest to one of several readers, while no export works in it.

    Raises:
        StartupError: it is not there, has no sound manifest, or an export works in it.
    """
    folder = Folder(path)
    manifest = folder.read_manifest()
    if manifest is None:
        raise StartupError(
            f"{path} holds no exported events: {path / _MANIFEST} is not there. Name the folder "
            "that was given to `track export --to`."
        )
    try:
        lock = os.open(path / _LOCK, os.O_RDONLY)
    except OSError:  # a copy, which nobody writes
        yield folder, manifest
        return
    with _locked(path, lock, fcntl.LOCK_SH):
        yield folder, folder.read_manifest() or manifest


def write_file(path: Path, read: Callable[[int], bytes]) -> File:
    """Write what is read to its end into a file, on the disk; return what it has become.

    Raises:
        ValueError: it is no whole Parquet file.
        OSError: it cannot be written.
    """
    digest, size = hashlib.sha256(), 0
    with path.open("xb+") as file:
        while chunk := read(_CHUNK_BYTES):
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
        file.flush()
        os.fsync(file.fileno())
        rows = count_rows(file)
    return File(path.name, rows, size, digest.hexdigest())


@contextmanager
def _locked(path: Path, lock: int, kind: int) -> Iterator[None]:
    """Hold the lock, which the kernel lets go of when this process dies."""
    try:
        try:
            fcntl.flock(lock, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StartupError(
                f"Another `track export` or `track import` works in {path}; run this again when "
                "it has ended."
            ) from None
        yield
    finally:
        os.close(lock)


def _names(manifest: Manifest, place: str) -> bool:
    return any(file.name.startswith(place) for day in manifest.days.values() for file in day.files)


def _number_of(day: Day | None) -> int:
    """Return the number of a day's export; 0 if there is none."""
    return int(day.files[0].name.split("/")[1]) if day and day.files else 0


def _sync_folder(path: Path) -> None:
    """See that the names in a folder are on the disk."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
