"""The folder: one export at a time, a day whole or absent, nothing removed that is named."""

from __future__ import annotations

import hashlib
import io
from datetime import date
from pathlib import Path

import pytest

from cli.parquet.folder import Folder, open_folder, open_to_read, write_file
from cli.parquet.footer import MAGIC, count_rows
from cli.parquet.manifest import Day, File, Manifest, Span
from runtime.startup import StartupError
from tests.cli.parquet.events import files_of

LOG, OTHER = "a" * 32, "b" * 32
DAY = date(2025, 1, 18)


def parquet(rows: int) -> bytes:
    """Return the beginning and the end of a Parquet file: version 1, no schema, so many rows."""
    footer = bytes((0x15, 2, 0x19, 0x0C, 0x16, rows * 2, 0))
    return MAGIC + b"data" + footer + len(footer).to_bytes(4, "little") + MAGIC


def publish(folder: Folder, manifest: Manifest, rows: int) -> Manifest:
    draft = folder.begin_draft()
    file = write_file(draft / "0000.parquet", io.BytesIO(parquet(rows)).read)
    return folder.publish(
        manifest, DAY, Day(rows, file.bytes, "now", {0: Span(rows, 0, rows)}, [file])
    )


def test_a_file_is_what_was_read() -> None:
    content = parquet(7)
    assert count_rows(io.BytesIO(content)) == 7


def test_a_file_is_written_whole_or_refused(tmp_path: Path) -> None:
    content = parquet(7)
    file = write_file(tmp_path / "0000.parquet", io.BytesIO(content).read)
    digest = hashlib.sha256(content).hexdigest()
    assert file == File("0000.parquet", 7, len(content), digest)
    for length in range(len(content)):
        with pytest.raises(ValueError, match="Parquet"):
            write_file(tmp_path / f"{length}", io.BytesIO(content[:length]).read)


def test_a_day_gets_its_place_and_the_next_export_takes_it_over(tmp_path: Path) -> None:
    with open_folder(tmp_path) as folder:
        manifest = publish(folder, folder.take_up(LOG), 7)
        assert files_of(tmp_path) == ["day=2025-01-18/1/0000.parquet"]
        manifest = publish(folder, manifest, 9)
        assert files_of(tmp_path) == ["day=2025-01-18/2/0000.parquet"]
        assert folder.read_manifest() == manifest
        assert manifest.days[DAY].rows == 9
        (file,) = manifest.days[DAY].files
        assert folder.find_fault(file) is None


def test_what_a_killed_run_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    with open_folder(tmp_path) as folder:
        publish(folder, folder.take_up(LOG), 7)
        (folder.begin_draft() / "0000.parquet").write_bytes(b"half")
    for name in ("day=2025-01-18/2", "day=2025-01-19/1"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "0000.parquet").write_bytes(b"not named")
    (tmp_path / "day=2025-01-18" / "notes").write_text("mine")
    (tmp_path / "mine.parquet").write_text("mine")
    with open_folder(tmp_path) as folder:
        folder.take_up(LOG)
    assert files_of(tmp_path) == ["day=2025-01-18/1/0000.parquet", "mine.parquet"]
    assert (tmp_path / "day=2025-01-18" / "notes").exists()


def test_a_folder_without_its_manifest_is_not_touched(tmp_path: Path) -> None:
    with open_folder(tmp_path) as folder:
        publish(folder, folder.take_up(LOG), 7)
        (tmp_path / "manifest.json").unlink()
        with pytest.raises(StartupError, match=r"has days, but manifest\.json is not there"):
            folder.take_up(LOG)
        (tmp_path / "manifest.json").write_text("{}")
        with pytest.raises(StartupError, match="cannot be used: it is no manifest"):
            folder.take_up(LOG)
    assert files_of(tmp_path) == ["day=2025-01-18/1/0000.parquet"]


def test_the_folder_of_another_log_is_refused(tmp_path: Path) -> None:
    with open_folder(tmp_path) as folder:
        folder.take_up(LOG)
        with pytest.raises(StartupError, match="Use another folder: each log has its own"):
            folder.take_up(OTHER)


def test_exports_exclude_each_other_and_readers(tmp_path: Path) -> None:
    with open_folder(tmp_path) as folder:
        folder.take_up(LOG)
        with pytest.raises(StartupError, match="Another `track export`"), open_folder(tmp_path):
            pass
        with pytest.raises(StartupError, match="Another `track export`"), open_to_read(tmp_path):
            pass
    with open_to_read(tmp_path), open_to_read(tmp_path) as (folder, manifest):
        assert manifest == Manifest.of(LOG)
        with pytest.raises(StartupError, match="or `track import` works"), open_folder(tmp_path):
            pass


def test_a_copy_without_its_lock_can_be_read(tmp_path: Path) -> None:
    with open_folder(tmp_path) as folder:
        folder.take_up(LOG)
    (tmp_path / ".lock").unlink()
    with open_to_read(tmp_path) as (_, manifest):
        assert manifest == Manifest.of(LOG)


def test_what_is_no_folder_of_events_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name in (".", "nowhere", "file"):
        with (
            pytest.raises(StartupError, match="holds no exported events"),
            open_to_read(tmp_path / name),
        ):
            pass
    with pytest.raises(StartupError, match="cannot be used"), open_folder(tmp_path / "file" / "x"):
        pass


@pytest.mark.parametrize("how", ["gone", "longer", "shorter", "one bit", "other rows"])
def test_a_file_that_was_changed_is_named(tmp_path: Path, how: str) -> None:
    with open_folder(tmp_path) as folder:
        manifest = publish(folder, folder.take_up(LOG), 7)
        (file,) = manifest.days[DAY].files
        path, content = tmp_path / file.name, parquet(7)
        if how == "gone":
            path.unlink()
        if how == "longer":
            path.write_bytes(content + b"\0")
        if how == "shorter":
            path.write_bytes(content[:-1])
        if how == "one bit":
            path.write_bytes(content[:5] + b"\0" + content[6:])
        if how == "other rows":
            file = File(file.name, 8, file.bytes, file.sha256)
        fault = folder.find_fault(file)
        assert fault is not None
        assert str(path) in fault
