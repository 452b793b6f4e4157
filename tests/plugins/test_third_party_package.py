"""A package that knows ialstore only as an installed dependency, in an environment of its own."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = Path(__file__).with_name("ialstore-jsonlines")
REQUIRED = "CI" in os.environ or os.environ.get("IALSTORE_REQUIRE_SERVICES") == "1"
UV = shutil.which("uv")

# Neither coverage of this run nor settings of this checkout reach into the other environment.
STRANGE = ("COV", "IALSTORE_", "PYTEST_", "PYTHONPATH", "VIRTUAL_ENV")
ENVIRON = {name: value for name, value in os.environ.items() if not name.startswith(STRANGE)}


def run(
    *command: str | Path, cwd: Path, check: bool = True, **environ: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=cwd, env=ENVIRON | environ, capture_output=True, text=True, check=check
    )


def install(place: Path) -> None:
    """Build both wheels, and install them into a new environment as a user would."""
    wheels = place / "wheels"
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(wheels)]
    build += ["--installer", "uv"] if UV else []
    run(*build, str(ROOT), cwd=place)
    run(*build, str(PACKAGE), cwd=place)
    (ours,) = wheels.glob("ialstore-*.whl")
    (theirs,) = wheels.glob("ialstore_jsonlines-*.whl")
    python = place / "env" / "bin" / "python"
    if UV:
        run(UV, "venv", "--python", sys.executable, str(place / "env"), cwd=place)
        pip = [UV, "pip", "install", "--python", str(python)]
    else:
        run(sys.executable, "-m", "venv", str(place / "env"), cwd=place)
        pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check"]
    # Ours first, or the other one's dependency would be looked up in the registry.
    run(*pip, f"ialstore[testing] @ {ours.as_uri()}", cwd=place)
    run(*pip, f"ialstore-jsonlines[testing] @ {theirs.as_uri()}", cwd=place)


@contextmanager
def alone(place: Path) -> Generator[None]:
    """Keep other workers of pytest-xdist out."""
    with (place / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the commands of an environment in which both are installed."""
    base = tmp_path_factory.getbasetemp()
    place = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "third-party"
    place.mkdir(exist_ok=True)
    done = place / "done"
    with alone(place):
        if not done.exists():
            try:
                install(place)
            except subprocess.CalledProcessError as error:
                said = f"{error.stdout}\n{error.stderr}".strip().splitlines()
                why = [line for line in said if "ERROR: " in line] or said
                reason = f"the packages can't be installed here: {why[-1]}"
                if REQUIRED:
                    pytest.fail(reason)
                pytest.skip(reason)
            done.touch()
    return place / "env" / "bin"


def test_its_schemes_are_listed_with_what_they_promise(commands: Path, tmp_path: Path) -> None:
    shown = run(commands / "ialstore", "backends", "--json", cwd=tmp_path).stdout
    theirs = [one for one in json.loads(shown)["items"] if one["scheme"] == "jsonlines"]
    assert [one["keeps"] for one in theirs] == ["conversations", "vectors"]
    for one in theirs:
        assert (one["installed"], one["fault"]) == (True, "")
        assert one["install"] == "ialstore-jsonlines"
        assert one["options"] == ["fsync", "cached_users"]
        assert one["capabilities"]["durable"] is True


def test_a_live_store_is_held_to_the_contract(commands: Path, tmp_path: Path) -> None:
    for part in ("conversation", "vector"):
        options = ("--part", part, "--json", "-k", "users_are_listed or reopening")
        shown = run(
            commands / "ialstore", "conformance", f"jsonlines:///{part}", *options, cwd=tmp_path
        )
        said = json.loads(shown.stdout)
        assert (said["package"], said["version"]) == ("ialstore-jsonlines", "0.1.0")
        assert said["totals"]["failed"] == 0
        assert said["totals"]["passed"] >= 2
        left = {one.suffix for one in (tmp_path / part).iterdir()}
        assert left <= {".json", ".lock"}, "no user's file"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["conversation", "vector"]


CONFIG = """
[conversation]
url = "jsonlines:///memory"
fsync = false
"""
PROGRAM = """
import sys
from ialstore import open_engine
with open_engine() as engine:
    if sys.argv[1] == "tell":
        engine.save("alice", "monday", "user", "Nuts make my throat swell.")
    else:
        print(engine.build_context("Which nuts can I eat?", "alice", "tuesday").as_text())
    print(engine.store.backend, engine.index.backend)
"""


def test_a_configuration_alone_chooses_it_in_every_process(commands: Path, tmp_path: Path) -> None:
    (tmp_path / "ialstore.toml").write_text(CONFIG)
    told, asked = (
        run(commands / "python", "-c", PROGRAM, what, cwd=tmp_path).stdout
        for what in ("tell", "ask")
    )
    assert told == "jsonlines jsonlines\n"
    assert "throat swell" in asked
    assert {one.name.partition(".")[2] for one in (tmp_path / "memory").iterdir()} == {
        "json",
        "lock",
        "messages.jsonl",
        "vectors.jsonl",
    }


def test_the_demo_finds_in_another_process_what_it_stored(commands: Path, tmp_path: Path) -> None:
    (tmp_path / "ialstore.toml").write_text(CONFIG)
    for beginning in ("Stored ", "Found all "):
        shown = run(commands / "ialstore", "demo", "--config", "ialstore.toml", cwd=tmp_path)
        assert shown.stdout.startswith(beginning)
        assert shown.stderr == ""


@dataclass(frozen=True)
class Result:
    """What a run of pytest came to: the number of tests by outcome, and why some were skipped."""

    counts: Counter[str]
    skipped: list[str]
    shown: str


def own_tests(commands: Path, place: Path, *options: str) -> Result:
    """Run the package's own tests, of a copy away from this checkout."""
    if not place.exists():
        shutil.copytree(PACKAGE, place, ignore=shutil.ignore_patterns("src", ".*", "__pycache__"))
    command = (str(commands / "python"), "-m", "pytest", "-v", "-rs", "-p", "no:cacheprovider")
    # As in CI: the same examples in every run.
    shown = run(*command, *options, cwd=place, check=False, CI="1").stdout
    outcomes = re.findall(r"^tests/\S+::.* ([A-Z]+) +\[", shown, re.MULTILINE)
    return Result(Counter(outcomes), re.findall(r"^SKIPPED .*$", shown, re.MULTILINE), shown)


ALLOWED_SKIPS = re.compile(r"capabilities\.|define a fixture faults")
"""The store with its cache answers reads while its disk fails: the one without is tested so."""


def test_its_own_tests_and_with_them_the_kit_pass(commands: Path, tmp_path: Path) -> None:
    result = own_tests(commands, tmp_path / "package")
    assert set(result.counts) <= {"PASSED", "SKIPPED"}, result.shown
    strange = [one for one in result.skipped if not ALLOWED_SKIPS.search(one)]
    assert strange == [], "a skip must name the capability that is not promised"
    assert result.counts["PASSED"] > 20 * result.counts["SKIPPED"], result.shown
    assert not re.search("::TestWithoutCache::.*outage.* SKIPPED", result.shown), "no faults"
    for suite in ("TestJsonLinesConversationStore", "TestJsonLinesVectorIndex"):
        assert result.shown.count(f"::{suite}::") > 150, f"the kit did not test {suite}"


@pytest.mark.parametrize(
    ("file", "change", "narrow"),
    [
        pytest.param(
            "conversations.py",
            ('query.session_id in (None, row["session_id"])', "True"),
            "hold_only",
            id="a history of all sessions",
        ),
        pytest.param(
            "vectors.py",
            ("scores = -np.sqrt(", "scores = np.sqrt("),
            "scores",
            id="the farthest first",
        ),
    ],
)
def test_the_kit_finds_a_fault_of_the_package(
    commands: Path, tmp_path: Path, file: str, change: tuple[str, str], narrow: str
) -> None:
    place = tmp_path / "package"
    shutil.copytree(PACKAGE / "src" / "ialstore_jsonlines", place / "ialstore_jsonlines")
    faulty = place / "ialstore_jsonlines" / file
    source = faulty.read_text(encoding="utf-8")
    assert source.count(change[0]) == 1
    faulty.write_text(source.replace(*change), encoding="utf-8")
    shutil.copytree(PACKAGE / "tests", place / "tests")

    result = own_tests(
        commands, place, "tests/test_kit.py", "-x", "-k", narrow, "-o", "pythonpath=."
    )
    assert result.counts["FAILED"] == 1, result.shown


def test_the_commands_of_the_guide_run(commands: Path, tmp_path: Path) -> None:
    guide = (ROOT / "docs" / "writing-a-backend.md").read_text(encoding="utf-8")
    place = tmp_path / "package"
    shutil.copytree(PACKAGE, place, ignore=shutil.ignore_patterns("src", ".*", "__pycache__"))
    path = f"{commands}{os.pathsep}{ENVIRON['PATH']}"
    blocks = re.findall(r"^```sh\n(.*?)```$", guide, re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        run("bash", "-euc", block, cwd=place, PATH=path)
