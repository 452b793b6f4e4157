"""``docs/writing-a-backend.md``: its code is that of the package or runs, and it lacks no name."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest

from ialstore import (
    ConversationStore,
    DeadlineExceededError,
    IndexSpec,
    Outcome,
    StoreSettings,
    Units,
    VectorIndex,
    errors,
)
from ialstore.capabilities import ConversationCapabilities, VectorCapabilities
from ialstore.listing import HistoryQuery
from ialstore.model import EncodedMessage, EraseReport
from ialstore.operation import Operation
from ialstore.registry import GROUPS
from ialstore.testing import VectorIndexSuite
from ialstore.testing.profiles import PROFILES
from ialstore.url import StoreURL
from ialstore.vector_model import EncodedRecord, SearchQuery

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "writing-a-backend.md").read_text(encoding="utf-8")
PACKAGE = Path(__file__).with_name("ialstore-jsonlines")


@dataclass(frozen=True)
class Block:
    """A block of code: its kind, its text, and the file that was named last above it."""

    kind: str
    text: str
    file: str
    line: int


def blocks(guide: str) -> Iterator[Block]:
    file = ""
    for found in re.finditer(
        r"^\*\*`([^`]+)`\*\*$|^```(.*)\n((?:.*\n)*?)```$", guide, re.MULTILINE
    ):
        if found[1]:
            file = found[1]
        else:
            yield Block(found[2], found[3], file, guide.count("\n", 0, found.start()) + 1)


BLOCKS = list(blocks(GUIDE))
QUOTED = [one for one in BLOCKS if one.kind in ("python", "toml")]
RUN = [one for one in BLOCKS if one.kind == "python run"]


def is_quoted(block: Block, package: Path = PACKAGE) -> bool:
    """Whether the block is in its file, line by line."""
    path = package / block.file
    return path.is_file() and f"\n{block.text}" in "\n" + path.read_text(encoding="utf-8")


def place(block: Block) -> str:
    return f"line {block.line}"


@pytest.mark.parametrize("block", QUOTED, ids=place)
def test_code_is_a_part_of_the_package(block: Block) -> None:
    assert is_quoted(block), f"this is not in {block.file or 'any file'}:\n{block.text}"


@pytest.mark.parametrize(
    "planted",
    [
        "file = open_private(path, os.O_RDONLY)\n",
        "    def file_of(self, user: str) -> Path:\n",
        "def file_of(self, user_id: str) -> Path:\n",
    ],
)
def test_code_that_is_not_a_part_of_the_package_is_found(planted: str) -> None:
    (block,) = blocks(f"**`src/ialstore_jsonlines/files.py`**\n\n```python\n{planted}```\n")
    assert not is_quoted(block)


def test_every_block_is_of_a_kind_that_is_tested() -> None:
    """Commands are run in ``test_third_party_package``; a text is no code."""
    assert {one.kind for one in BLOCKS} <= {"python", "python run", "sh", "text", "toml"}


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    """Return what the programs define that run, in their order, as one program."""
    defined: dict[str, Any] = {}
    for block in RUN:
        code = compile("\n" * block.line + block.text, "writing-a-backend.md", "exec")
        exec(code, defined)  # noqa: S102 - the guide is ours
    return defined


class Hurried:
    """An operation of which a test says how much time is left."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.units = Units()

    def remaining(self) -> float:
        return self.seconds

    def add(self, units: Units) -> None:
        self.units += units


def test_a_request_as_in_the_guide_counts_what_it_used(names: dict[str, Any]) -> None:
    ours, theirs = socket.socketpair()
    op = Hurried(60)
    with ours, theirs:
        theirs.sendall(b"fine")
        assert names["request"](op, ours, b"hello", writes=True) == b"fine"
        assert theirs.recv(100) == b"hello"
    assert op.units == Units(requests=1)


@pytest.mark.parametrize(
    ("writes", "outcome"), [(True, Outcome.UNKNOWN), (False, Outcome.NOT_APPLIED)]
)
def test_a_request_as_in_the_guide_tells_the_outcome(
    names: dict[str, Any], *, writes: bool, outcome: Outcome
) -> None:
    ours, theirs = socket.socketpair()
    op = Hurried(0.001)
    with ours, theirs, pytest.raises(DeadlineExceededError) as caught:
        names["request"](op, ours, b"hello", writes=writes)
    assert (caught.value.outcome, caught.value.retryable) == (outcome, True)
    assert op.units == Units(requests=1)


def test_the_known_gap_of_the_guide_is_a_test_of_the_kit(names: dict[str, Any]) -> None:
    (gap,) = [name for name in vars(names["TestMine"]) if name.startswith("test_")]
    assert hasattr(VectorIndexSuite, gap)


# -- what it must not leave out -------------------------------------------------------------------


def missing(wanted: Iterable[str]) -> list[str]:
    """Return what the text and tables of the guide do not mention."""
    text = re.sub(r"^```.*?^```$", "", GUIDE, flags=re.MULTILINE | re.DOTALL)
    return [one for one in wanted if re.search(rf"(?<![\w]){one}\b", text) is None]


@pytest.mark.parametrize(
    "kind",
    [
        ConversationCapabilities,
        EncodedMessage,
        EncodedRecord,
        EraseReport,
        HistoryQuery,
        IndexSpec,
        SearchQuery,
        VectorCapabilities,
    ],
)
def test_no_field_is_left_out(kind: type[Any]) -> None:
    fields_told_elsewhere = {"cached"}  # of caches
    assert missing({one.name for one in fields(kind)} - fields_told_elsewhere) == []


@pytest.mark.parametrize("kind", [ConversationStore, VectorIndex])
def test_no_hook_is_left_out(kind: type[Any]) -> None:
    frame = {"_begin", "_bind", "_compare_spec", "_emit", "_end", "_named", "_translating"}
    hooks = [
        name
        for name, method in inspect.getmembers(kind, inspect.isfunction)
        if "op" in inspect.signature(method).parameters and name not in frame
    ]
    assert "_append" in hooks or "_upsert" in hooks
    assert missing([*hooks, "_close", "_after_fork", "held_bytes", "from_url"]) == []


def test_no_error_outcome_setting_or_group_is_left_out() -> None:
    raised = set(errors.__all__) - {"IalStoreError"}
    assert missing(raised | {one.name for one in Outcome}) == []
    assert missing(StoreSettings.__optional_keys__) == []
    assert missing(set(GROUPS.values()) - {"ialstore.caches"}) == []
    assert missing(PROFILES) == []


def test_nothing_of_an_operation_is_left_out() -> None:
    frame = {"callers_error", "details", "items", "round_trips", "started", "units"}
    offered = {name for name in dir(Operation) if not name.startswith("_")} - frame
    assert missing(f"op.{one}" for one in offered) == []


def test_nothing_that_a_url_has_is_left_out() -> None:
    told_by_options = {"parse", "query", "with_options"}
    offered = {name for name in dir(StoreURL) if not name.startswith("_")} - told_by_options
    assert missing(f"url.{one}" for one in offered) == []


def test_every_name_to_import_is_there() -> None:
    table = GUIDE[GUIDE.index("## 16.") :]
    rows = re.findall(r"^\| `(ialstore[.a-z_]*)` \| (.*) \|$", table, re.MULTILINE)
    assert len(rows) > 8
    for module, cells in rows:
        offered = importlib.import_module(module)
        for name in re.findall(r"`(\w+)`", cells):
            assert hasattr(offered, name), f"{module} has no {name}"
            assert name in offered.__all__, f"{module}.__all__ has no {name}"


def test_whatever_the_package_imports_is_in_the_table() -> None:
    table = GUIDE[GUIDE.index("## 16.") :]
    for path in (PACKAGE / "src" / "ialstore_jsonlines").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("ialstore."):
                (row,) = re.findall(rf"^\| `{node.module}` \| (.*) \|$", table, re.MULTILINE)
                assert [one.name for one in node.names if f"`{one.name}`" not in row] == []


def test_the_contents_lead_to_every_section() -> None:
    contents = re.findall(r"^\d+\. \[(.+)\]\(#(.+)\)$", GUIDE, re.MULTILINE)
    headings = re.findall(r"^## (\d+)\. (.+)$", GUIDE, re.MULTILINE)
    assert [title for title, _ in contents] == [title for _, title in headings]
    for (title, anchor), (number, _) in zip(contents, headings, strict=True):
        slug = re.sub(r"[^\w\- ]", "", f"{number}. {title}".lower()).replace(" ", "-")
        assert anchor == slug
    assert set(re.findall(r"\]\(#([^)]+)\)", GUIDE)) == {anchor for _, anchor in contents}
