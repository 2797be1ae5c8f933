"""The bare services in Go and Rust that ingest is compared with: built once, where a compiler is.

In: their sources in `native/`. Out: a program in the folder of downloads, or None where the machine
has no compiler. Never: a library that is not pinned by its hash, in `go.sum` or `Cargo.pins`.

`Cargo.pins` is Cargo's own lock file without the lines that name a registry. They are put back from
a lock file that Cargo makes here, so the versions and hashes are those pinned and the registry is
the one that this machine uses.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deploy.local.downloads import Say, downloads_folder
from tests.benchmarks.figures import BenchmarkError

_SOURCES = Path(__file__).parent / "native"
_PROGRAM = "native_ingest"
_BUILD_S = 900
_SOURCE = re.compile(r'^source = "registry.*"$', re.MULTILINE)
_CHECKSUM = re.compile(r"^checksum = ", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Language:
    """A language, the program that builds it, and how: from a folder of sources into another."""

    name: str
    compiler: str
    build: Callable[[Path, Path], None]


def build_service(language: Language, say: Say) -> Path | None:
    """Return the program, built if need be; None, said in a sentence, where it cannot be built.

    Raises:
        BenchmarkError: the compiler is there and has failed.
    """
    if shutil.which(language.compiler) is None:
        say(f"no bare service in {language.name}: this machine has no `{language.compiler}`")
        return None
    folder = downloads_folder() / f"native-{language.name.lower()}-{_hash_of(language)}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"native-{language.name.lower()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            say(f"building the bare service in {language.name}")
            _fill(folder, language)
    return folder / _PROGRAM


def _fill(folder: Path, language: Language) -> None:
    """Build in a draft and rename it, so that what has the final name is whole."""
    draft = folder.with_name(f"native-{language.name.lower()}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    work = draft / "work"
    shutil.copytree(_sources_of(language), work)
    language.build(work, draft / _PROGRAM)
    shutil.rmtree(work)
    draft.rename(folder)


def _build_go(work: Path, program: Path) -> None:
    _run(work, "go", "build", "-trimpath", "-o", str(program), ".")


def _build_rust(work: Path, program: Path) -> None:
    _run(work, "cargo", "generate-lockfile")
    lock = work / "Cargo.lock"
    source = _SOURCE.search(lock.read_text())
    if source is None:
        raise BenchmarkError("Cargo's lock file names no registry")
    pins = (work / "Cargo.pins").read_text()
    lock.write_text(_CHECKSUM.sub(lambda found: f"{source[0]}\n{found[0]}", pins))
    _run(work, "cargo", "build", "--release", "--locked", "--target-dir", "target")
    shutil.copy(work / "target" / "release" / _PROGRAM, program)


def _run(folder: Path, *command: str) -> None:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "CGO_ENABLED": "0", "CARGO_TERM_COLOR": "never"},
        capture_output=True,
        text=True,
        timeout=_BUILD_S,
        check=False,
    )
    if done.returncode != 0:
        raise BenchmarkError(f"{' '.join(command[:2])} failed: {done.stderr[-400:]}")


def _hash_of(language: Language) -> str:
    """Return a short hash of a language's sources, so that a change of them is built anew."""
    digest = hashlib.sha256()
    folder = _sources_of(language)
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def _sources_of(language: Language) -> Path:
    return _SOURCES / language.name.lower()


LANGUAGES = (Language("Go", "go", _build_go), Language("Rust", "cargo", _build_rust))
