"""``ialstore conformance``: hold a store that is there to the contract, and print the report."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from importlib.util import find_spec
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

import typer

from ialstore._version import __version__
from ialstore.cli.backends import plain_capabilities
from ialstore.cli.common import Common, is_for_vectors
from ialstore.cli.exits import ExitCode
from ialstore.cli.options import Metric
from ialstore.cli.text import shortened
from ialstore.errors import ConfigurationError, InvalidInputError, MissingDriverError
from ialstore.registry import known
from ialstore.url import closest, redact_url

if TYPE_CHECKING:
    from ialstore.cli.output import Output
    from ialstore.config import Config
    from ialstore.testing.live import Live
    from ialstore.testing.report import Report, Tally

__all__ = ["conformance"]

_NAMED: Final = 5
"""Users named where a store is refused."""


class Part(StrEnum):
    """What is tested."""

    CONVERSATION = "conversation"
    VECTOR = "vector"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subject:
    """What was tested, and with what."""

    backend: str
    part: str
    url: str
    package: str
    version: str
    wrappers: tuple[str, ...]
    spec: dict[str, Any] | None
    ialstore: str
    profile: str
    python: str
    date: str


@dataclass(frozen=True, slots=True)
class _Section:
    """A part of the report; columns of numbers begin with ``#``."""

    title: str
    columns: list[str]
    rows: list[list[str]]


def conformance(
    common: Common,
    where: Annotated[
        str | None,
        typer.Argument(metavar="URL", help="An empty store; otherwise that of --url or --config."),
    ] = None,
    *,
    part: Annotated[
        Part | None,
        typer.Option(
            "--part",
            help="The conversation store or the vector index; the store, if the URL has both.",
        ),
    ] = None,
    keyword: Annotated[
        str,
        typer.Option("-k", metavar="EXPR", help="Only tests of such names, as pytest's -k."),
    ] = "",
    clause: Annotated[
        list[str] | None,
        typer.Option(
            "--clause", metavar="CLAUSE", help="Only tests that cite it: S6; may come again."
        ),
    ] = None,
    thorough: Annotated[
        bool, typer.Option("--thorough", help="Try many more examples: for a night.")
    ] = False,
    metric: Annotated[
        Metric, typer.Option("--metric", help="What a vector index is made for.")
    ] = Metric.COSINE,
    settle: Annotated[
        float | None,
        typer.Option(
            "--settle",
            metavar="SECONDS",
            help="How long every read takes to see a write; for a store without strong reads.",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also a store that can't tell whether it is empty.")
    ] = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="As tables in Markdown, for a document.")
    ] = False,
) -> ExitCode:
    """Hold a store to the contract, test by test, and print a report; exit code 1 if any fails.

    It takes the extra testing of ialstore, and an empty store. Tables and files that are missing
    are made, and stay. All that the tests write is erased at the end, also after Ctrl-C; but a
    vector index stays made for their vectors: give it a place of its own.
    """
    config = _config(common, where)
    kind = part or _part_of(config)
    _require_kit()
    clauses = _clauses(clause or [])
    live = _opened(config, kind, metric, settle)
    _require_empty(live, force=force)

    from ialstore.testing.live import Selection, run_suite
    from ialstore.testing.report import Report

    selection = Selection(
        keyword=keyword, clauses=clauses, profile="thorough" if thorough else "default"
    )
    begun = time.perf_counter()
    results = None
    try:
        with common.out.progress("testing") as progress:
            results = run_suite(live, selection, progress)
    except KeyboardInterrupt:
        common.out.note("interrupted; erasing what was written")
    finally:
        left = live.erase()
    if results is None:
        for user in left:
            common.out.warn(f"not erased: {user}")
        return ExitCode.INTERRUPTED
    report = Report(results=results, left=left, seconds=time.perf_counter() - begun)
    subject = _subject(config, live, selection.profile)
    if common.json:
        common.out.document(_document(subject, live, report))
    else:
        _show(common.out, _sections(subject, live, report), markdown=markdown)
    return ExitCode.OK if report.is_sound else ExitCode.DIFFERENT


def _config(common: Common, where: str | None) -> Config:
    if where is None and common.url is None and common.config is None:
        raise ConfigurationError("name an empty store: ialstore conformance sqlite:///new.db")
    if where is None:
        return common.load()
    if common.url is not None:
        raise ConfigurationError("give the URL once: as the argument or by --url")
    return replace(common, url=where).load()


def _part_of(config: Config) -> Part:
    return Part.VECTOR if is_for_vectors(config.conversation.url) else Part.CONVERSATION


def _scheme(url: str) -> str:
    return url.partition(":")[0].lower()


def _require_kit() -> None:
    for module in ("pytest", "hypothesis"):
        if find_spec(module) is None:
            raise MissingDriverError(
                f"conformance needs the module {module}: pip install 'ialstore[testing]'"
            )


def _clauses(given: list[str]) -> tuple[str, ...]:
    from ialstore.testing.report import CLAUSES

    wanted = tuple(one.upper() for one in given)
    for one in wanted:
        if one not in CLAUSES:
            raise InvalidInputError(f"no test cites a clause {one}{closest(one, CLAUSES)}")
    return wanted


def _opened(config: Config, kind: Part, metric: Metric, settle: float | None) -> Live:
    from ialstore.testing.live import Live

    live = Live(kind, config, metric, settle_seconds=settle)
    if settle is None and not live.capabilities.strong_reads:
        raise ConfigurationError(
            f"{live.backend} offers no strong reads; say how long it takes until every read sees "
            "a write: --settle SECONDS"
        )
    return live


def _require_empty(live: Live, *, force: bool) -> None:
    if live.capabilities.users:
        with closing(live.users()) as listed:
            users = list(islice(listed, _NAMED + 1))
        if users:
            named = ", ".join(users[:_NAMED]) + (", ..." if users[_NAMED:] else "")
            raise InvalidInputError(
                f"the {live.kind} store is not empty: it holds data of {named}; name another place "
                "for the tests, or erase them first: ialstore erase --user USER"
            )
    elif not force:
        raise InvalidInputError(
            f"{live.backend} can't list its users, so that nothing tells whether it is empty; add "
            "--force if it holds nothing of value"
        )


def _subject(config: Config, live: Live, profile: str) -> _Subject:
    from importlib.metadata import version

    section = config.conversation if live.kind == Part.CONVERSATION else config.vector
    packages = known(live.kind)[_scheme(section.url)].packages
    return _Subject(
        backend=live.backend,
        part=live.kind,
        url=redact_url(section.url),
        package=packages[0] if packages else "ialstore",
        version=version(packages[0]) if packages else __version__,
        wrappers=tuple(one if isinstance(one, str) else str(one["use"]) for one in section.wrap),
        spec=asdict(live.spec) if live.kind == Part.VECTOR else None,
        ialstore=__version__,
        profile=profile,
        python=platform.python_version(),
        date=f"{datetime.now(UTC):%Y-%m-%d}",
    )


def _document(subject: _Subject, live: Live, report: Report) -> dict[str, Any]:
    return {
        "passed": report.is_sound,
        **asdict(subject),
        "capabilities": plain_capabilities(live.capabilities),
        "clauses": [
            {"clause": clause, "about": about, **asdict(tally)}
            for clause, about, tally in report.clauses
        ],
        "totals": asdict(report.totals),
        "seconds": round(report.seconds, 1),
        "skipped": [{"reason": reason, "tests": tests} for reason, tests in report.skipped.items()],
        "failed": [asdict(one) for one in report.failed],
        "left": list(report.left),
        "out_of_reach": sorted(live.out_of_reach),
    }


def _show(out: Output, sections: Sequence[_Section], *, markdown: bool) -> None:
    for one in sections:
        if markdown:
            out.line(f"#### {one.title}")
            out.line()
            for cells in _markdown(one):
                out.line(f"| {' | '.join(cells)} |")
            out.line()
        else:
            out.heading(one.title)
            out.table(one.columns, one.rows)


def _markdown(section: _Section) -> Iterator[list[str]]:
    yield [one.removeprefix("#").capitalize() for one in section.columns]
    yield ["---:" if one.startswith("#") else "---" for one in section.columns]
    for row in section.rows:
        yield [one.replace("|", "\\|") for one in row]


def _sections(subject: _Subject, live: Live, report: Report) -> list[_Section]:
    can = plain_capabilities(live.capabilities)
    counts = ["#passed", "#failed", "#skipped"]
    found = [
        _Section(
            f"Conformance of {subject.backend}: {subject.part}",
            ["fact", "value"],
            _facts(subject, report),
        ),
        _Section(
            "Capabilities",
            ["capability", "value"],
            [[name.replace("_", " "), _shown(value)] for name, value in can.items()],
        ),
        _Section(
            "Clauses of the contract",
            ["clause", "about", *counts],
            [[clause, about, *_numbers(tally)] for clause, about, tally in report.clauses],
        ),
        _Section(
            "Skipped",
            ["#tests", "because"],
            [[f"{len(tests):,}", reason] for reason, tests in report.skipped.items()],
        ),
        _Section(
            "Failed",
            ["test", "clauses", "because"],
            [[one.test, " ".join(one.clauses), shortened(one.reason)] for one in report.failed],
        ),
        _Section("Not erased", ["user"], [[one] for one in report.left]),
        _Section("Out of reach of erase", ["what"], [[one] for one in sorted(live.out_of_reach)]),
    ]
    return [one for one in found if one.rows]


def _facts(subject: _Subject, report: Report) -> list[list[str]]:
    passed, failed, skipped = _numbers(report.totals)
    facts = {
        "result": f"{passed} passed, {failed} failed, {skipped} skipped",
        "store": f"{subject.package} {subject.version}, {subject.url}",
        "wrappers": ", ".join(subject.wrappers) or "none",
        "kit": f"ialstore {subject.ialstore}, profile {subject.profile}, Python {subject.python}",
        "run": f"{subject.date}, {report.seconds:,.1f} seconds",
    }
    if subject.spec is not None:
        facts["spec"] = ", ".join(f"{name} {value}" for name, value in subject.spec.items())
    return [[name, value] for name, value in facts.items()]


def _numbers(tally: Tally) -> list[str]:
    return [f"{one:,}" for one in (tally.passed, tally.failed, tally.skipped)]


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(cast("list[str]", value)) if isinstance(value, list) else f"{value:g}"
