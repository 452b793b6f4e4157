"""docs/choosing-a-backend.md: its commands work, and its prices are what is priced."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from ialstore.cli import main
from ialstore_backends import _exact

pytestmark = pytest.mark.no_cover

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "choosing-a-backend.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^ialstore .*", PAGE, re.MULTILINE)
PRICES = PAGE.partition("table choosing: prices")[2].partition("/table")[0]
URLS = re.findall(r"^\| `(\S+://\S+)` \| ([\d.,]+) ", PRICES, re.MULTILINE)


@pytest.fixture(autouse=True)
def nothing_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("IALSTORE_CONFIG", "IALSTORE_PRICES"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("number", range(len(COMMANDS)))
def test_a_command_works(number: int, tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(60, 8))
    np.savez(tmp_path / "turns.npz", vectors=vectors)
    given = shlex.split(COMMANDS[number])[1:]
    quick = ["--quick", "--no-html"] if given[0] == "compare" else []
    assert main([*given, *quick]) == 0


@pytest.mark.parametrize(("url", "dollars"), URLS, ids=[url for url, _ in URLS])
def test_the_command_finds_the_price_of_the_table(
    url: str, dollars: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A store that keeps both costs its conversations, too; the table is of vectors."""
    workload = ["--users", "1000", "--turns-per-day", "10", "--retention-days", "50"]
    assert main(["cost", url, *workload, "--json"]) == 0
    lines = json.loads(capsys.readouterr().out)["lines"]
    found = sum(one["amount"] for one in lines if "conversations" not in one["place"])
    assert found == pytest.approx(float(dollars.replace(",", "")), rel=0.01)


def test_one_core_searches_as_many_as_it_says() -> None:
    assert f"which are {_exact._ONE_CORE // 384:,} vectors of 384" in PAGE  # noqa: SLF001 - no option


def test_what_it_links_to_is_there() -> None:
    for link in re.findall(r"\]\(([\w./-]+)", PAGE):
        assert (ROOT / "docs" / link).exists(), link
