"""docs/comparing.md: its commands run, and its options are those of the command."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from ialstore import Message, open_store
from ialstore.cli import main

PAGE = (Path(__file__).parents[2] / "docs" / "comparing.md").read_text(encoding="utf-8")


def test_the_commands_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(2)
    lines = [{"vector": rng.standard_normal(4).tolist(), "session": "s1"} for _ in range(60)]
    Path("turns.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    with open_store("sqlite:///chat.db") as store:
        for number in range(12):
            said = f"I have {number} cats"
            store.append(Message.new(user_id="alice", session_id="s", role="user", content=said))
    (commands,) = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    for command in commands.splitlines():
        assert main(shlex.split(command)[1:]) == 0, capsys.readouterr().err
        assert re.match(r"Verdict\n(memory|exact) reaches", capsys.readouterr().out)
    assert json.loads(Path("comparison.json").read_text())["asked"]["workload"]["users"] == 50
    assert Path("chat.json").exists()


def test_the_options_are_those_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--help"]) == 0
    offered = set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out))
    named = set(re.findall(r"--[a-z][a-z-]+", PAGE))
    assert named <= offered
