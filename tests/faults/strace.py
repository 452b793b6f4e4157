"""Workloads in processes of their own, under strace: recorded, killed, or with calls that fail.

strace fails or kills at the n-th call of an unmodified program: what runs is the store and SQLite
as users have them. Only calls on the files named are counted.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.faults import workload

__all__ = ["WRITES", "Call", "Left", "Programs", "why_no_strace"]

WRITES: Final = (
    "openat",
    "pwrite64",
    "write",
    "ftruncate",
    "fallocate",
    "fsync",
    "fdatasync",
    "rename",
    "unlink",
)
"""Calls that change files, or promise that their changes are on the disk."""
FILES: Final = ("", "-wal", "-shm", "-journal")
"""Of a database, by the end of their names."""

_TIMEOUT_SECONDS: Final = 60
_TRACED: Final = (*WRITES, "mmap", "fcntl", "writev")
_LINE: Final = re.compile(
    r"\d+ +(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>\?|-?\d+|0x[0-9a-f]+)(?P<rest>.*)"
)


@dataclass(frozen=True)
class Call:
    """One call of a trace.

    Attributes:
        name: of the system call.
        arguments: as strace prints them.
        result: what it returned; -1 for an error, None when the program was killed in it.
        opened: path behind the descriptor returned, or empty.
        injected: whether strace made it fail.
    """

    name: str
    arguments: str
    result: int | None
    opened: str = ""
    injected: bool = False


@dataclass(frozen=True)
class Left:
    """What is left of a workload.

    Attributes:
        path: of the database; there is nothing else in its folder.
        journal: what the program noted.
        killed: whether a signal ended it.
        calls: on the files of the database, in order; none without strace.
    """

    path: Path
    journal: bytes
    killed: bool
    calls: Sequence[Call] = ()


def why_no_strace() -> str:
    """Return why strace can't be used here; empty when it can."""
    if sys.platform != "linux":
        return "strace is a program of Linux"
    strace = shutil.which("strace")
    if strace is None:
        return "strace is not installed"
    if subprocess.run([strace, "-o", "/dev/null", "true"], check=False).returncode:
        return "strace may not trace here"
    return ""


class Programs:
    """Runs workloads, each in a fresh process: a fork of one that has imported what they need."""

    def __init__(self) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
        self._server = subprocess.Popen(
            [sys.executable, "-S", workload.__file__],
            cwd="/",
            env=kept
            | {
                "OPENBLAS_NUM_THREADS": "1",  # with more, Python warns at the fork
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def close(self) -> None:
        """End the process that the others are forks of."""
        self._server.communicate()

    def run(self, folder: Path, name: str, *options: str) -> Left:
        """Run a workload undisturbed by us."""
        return self._run(folder, name, options)

    def disturb(
        self, folder: Path, name: str, *options: str, inject: str = "", only: Sequence[str] = ()
    ) -> Left:
        """Run a workload under strace.

        Args:
            folder: for everything that it writes; a new one.
            name: of the workload.
            options: of the program.
            inject: what to do at which call, in strace's words: ``fsync:error=EIO:when=2``.
            only: files to count calls on, as in ``FILES``; all of them and their folder by default.
        """
        wanted = ["-e", f"trace={','.join(_TRACED)}", "-s", "0"]
        if inject:
            wanted += ["-e", f"inject={inject}"]
        return self._run(folder, name, options, [*wanted, *_paths(folder, only)])

    def record(self, folder: Path, name: str, *options: str, inject: str = "") -> Left:
        """Run a workload and record its calls with all their data, the journal's among them."""
        wanted = ["-e", f"trace={','.join(_TRACED)}", "-xx", "-s", "4000000"]
        if inject:
            wanted += ["-e", f"inject={inject}"]
        journal = ["-P", str(_real(folder) / "journal")]
        return self._run(folder, name, options, [*wanted, *journal, *_paths(folder, ())])

    def _run(
        self, folder: Path, name: str, options: Sequence[str], wanted: Sequence[str] = ()
    ) -> Left:
        folder = _real(folder)
        path, journal, trace = folder / "home" / "agent.db", folder / "journal", folder / "trace"
        path.parent.mkdir(parents=True)
        self._tell(json.dumps([str(path), str(journal), name, *options]))
        child = self._hear()
        lines: list[str] = []
        if wanted:
            code = self._trace(child, ["-o", str(trace), *wanted])
            lines = [one for one in trace.read_text().splitlines() if not one.endswith(" +++")]
        else:
            self._tell("")
            code = self._hear()
        assert code <= 0, "a workload failed; its error stands above"
        noted = journal.read_bytes() if journal.exists() else b""
        return Left(path, noted, code < 0, [_parse(line) for line in lines])

    def _trace(self, child: int, wanted: Sequence[str]) -> int:
        strace = shutil.which("strace")
        assert strace is not None
        command = [strace, "-f", "-y", *wanted, "-p", str(child)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracing:
            assert tracing.stderr is not None
            said = tracing.stderr.readline()
            assert "attached" in said, said
            self._tell("")
            code = self._hear()
            tracing.communicate(timeout=_TIMEOUT_SECONDS)
        return code

    def _tell(self, line: str) -> None:
        assert self._server.stdin is not None
        self._server.stdin.write(line + "\n")

    def _hear(self) -> int:
        assert self._server.stdout is not None
        return int(self._server.stdout.readline())


def _paths(folder: Path, only: Sequence[str]) -> list[str]:
    home = _real(folder) / "home"
    files = [str(home / f"agent.db{end}") for end in only or FILES]
    if not only:
        files.append(str(home))
    return [part for file in files for part in ("-P", file)]


def _real(folder: Path) -> Path:
    return Path(os.path.realpath(folder))


def _parse(line: str) -> Call:
    found = _LINE.match(line)
    if found is None:
        raise AssertionError(f"a line of strace that can't be read: {line[:200]}")
    result, rest = found["result"], found["rest"]
    opened = rest[1:].partition(">")[0] if rest.startswith("<") else ""
    return Call(
        found["name"],
        found["arguments"],
        None if result == "?" else int(result, 0),
        opened,
        "(INJECTED)" in rest,
    )
