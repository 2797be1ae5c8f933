"""What the documentation names exists: files, functions, settings, commands, targets, links.

A text in backticks is a path if it has no space and its first part is a file or folder at the root
of the repository, or if it ends like a source file. `path:name` names a function or class of it.
"""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from cli.main import track
from runtime.failpoints import FAILPOINT
from runtime.ready import READY_FILE
from runtime.settings import Settings
from tests.benchmarks.figures import ABOUT, RATIOS, TARGETS
from tests.benchmarks.registry import PARTS
from tests.benchmarks.report import RECORDED, read_file
from tests.benchmarks.tables import DOCUMENTS, HEAD, with_table

ROOT = Path(__file__).parents[1]
DOCS = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
ALL = (*DOCS, ROOT / "deploy" / "README.md")

# Made when the project runs, and ignored by git.
_MADE = ("bench.json", ".local", ".venv")
_ENDINGS = (".py", ".md", ".sql", ".sh", ".yaml", ".json", ".xml", ".html", ".toml", ".sha256")
_SETTINGS = tuple(each.metadata["name"] for each in dataclasses.fields(Settings))
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


every_document = pytest.mark.parametrize("document", ALL, ids=_name)
every_named_path = pytest.mark.parametrize("document", DOCS, ids=_name)


@every_named_path
def test_paths_exist(document: Path) -> None:
    missing = [path for path in _paths(document) if not list(ROOT.glob(path.rstrip("/")))]
    assert missing == []


@every_named_path
def test_functions_exist(document: Path) -> None:
    named = re.findall(r"`([\w/]+\.py):([\w.]+)`", document.read_text())
    missing = [f"{path}:{name}" for path, name in named if name not in _names_in(ROOT / path)]
    assert missing == []


@every_document
def test_settings_exist(document: Path) -> None:
    known = {*_SETTINGS, *(f"{name}_FILE" for name in _SETTINGS), FAILPOINT, READY_FILE}
    assert set(re.findall(r"TRACK_[A-Z_]+", document.read_text())) <= known


@every_document
def test_commands_exist(document: Path) -> None:
    named = re.findall(r"(?:`|^    |bin/)track ([a-z]+)", document.read_text(), re.MULTILINE)
    assert set(named) <= set(track.commands)


@every_document
def test_make_targets_exist(document: Path) -> None:
    rules = re.findall(r"^([a-z%-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    patterns = [re.compile(rule.replace("%", ".+")) for rule in rules]
    named = re.findall(r"(?:`|^    )make ([A-Za-z-]+)", document.read_text(), re.MULTILINE)
    assert [each for each in named if not any(known.fullmatch(each) for known in patterns)] == []


@every_document
def test_links_lead_somewhere(document: Path) -> None:
    text = _FENCE.sub("", document.read_text())
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = document.parent / path if path else document
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            broken.append(link)
    assert broken == []


def test_every_setting_stands_in_the_readme_with_its_default() -> None:
    rows = re.findall(r"^\| `(TRACK_\w+)` \| (?:`(.*?)`)? ?\|", _part("settings"), re.MULTILINE)
    defaults = [(each.metadata["name"], str(each.default)) for each in dataclasses.fields(Settings)]
    assert rows == defaults


@pytest.mark.parametrize(("document", "names"), DOCUMENTS.items(), ids=["README", "performance"])
def test_figures_are_those_that_were_recorded(document: Path, names: Iterable[str]) -> None:
    text = document.read_text()
    assert "<!-- bench -->" in text
    assert with_table(text, names, read_file(RECORDED)) == text, "python -m tests.benchmarks.tables"


def test_every_figure_has_its_words() -> None:
    of_parts = {figure for part in PARTS for figure in part.figures}
    assert of_parts == set(ABOUT)
    assert set(HEAD) | set(TARGETS) | RATIOS <= set(ABOUT)


def test_every_decision_is_linked_from_the_architecture() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    decisions = [each.name for each in (ROOT / "docs" / "decisions").glob("*.md")]
    assert [name for name in decisions if f"](decisions/{name})" not in text] == []


def _paths(document: Path) -> Iterator[str]:
    """Give what the rule above calls a path, without the name behind a colon."""
    roots = {each.name for each in ROOT.iterdir()}
    for text in _INLINE.findall(_FENCE.sub("", document.read_text())):
        path = text.partition(":")[0]
        first = path.partition("/")[0]
        if " " in path or "://" in text or first in _MADE:
            continue
        if ("/" in path and first in roots) or path.endswith(_ENDINGS):
            yield path


def _names_in(module: Path) -> set[str]:
    """Return the functions and classes of a module, and the members of its classes."""
    names = set()
    for node in ast.parse(module.read_text()).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            members = [each for each in node.body if isinstance(each, _FUNCTION)]
            names |= {f"{node.name}.{each.name}" for each in members}
        if isinstance(node, ast.Assign):
            names |= {each.id for each in node.targets if isinstance(each, ast.Name)}
    return names


_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


def _anchors(document: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", document.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


def _part(name: str) -> str:
    """Return what stands in the README between two comments of this name."""
    readme = (ROOT / "README.md").read_text()
    found = re.search(f"<!-- {name} -->\n(.*?)<!-- /{name} -->", readme, re.DOTALL)
    assert found is not None
    return found[1]
