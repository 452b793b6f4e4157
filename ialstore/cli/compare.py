"""``ialstore compare``: which index finds enough, what it costs, and when to move."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import typer

from ialstore._version import __version__
from ialstore.cli.common import Common
from ialstore.cli.options import Metric, OptionalUserOption
from ialstore.errors import ConfigurationError, InvalidInputError, MissingDriverError

if TYPE_CHECKING:
    from ialstore.cli.output import Output
    from ialstore.compare.data import Dataset
    from ialstore.compare.measure import Subject
    from ialstore.compare.report import Report
    from ialstore.config import Config
    from ialstore.vector_model import IndexSpec

__all__ = ["compare"]

T = TypeVar("T", int, float)

_KS: Final = (1, 5, 10, 50)
_SIZES: Final = (1000, 5000, 20_000, 100_000)
_QUICK_SIZES: Final = (500, 2000)
_EFFORTS: Final = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
_QUICK_EFFORTS: Final = (0.3, 1.0)
_QUERIES: Final = 100
_QUICK_QUERIES: Final = 20
_UPSERTS: Final = 50
_NAMED: Final = re.compile(r"([^:/=?]+)=(.+)", re.DOTALL)


def compare(
    common: Common,
    where: Annotated[
        list[str],
        typer.Argument(
            metavar="INDEX...", help="URLs of vector indexes, or .toml files; also NAME=URL."
        ),
    ],
    *,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="FILE",
            help="Vectors as .npz or .jsonl, or the URL of a store. Otherwise the store of --url "
            "or --config. A store takes --user, and the embedder of the configuration.",
        ),
    ] = None,
    user: OptionalUserOption = None,
    sizes: Annotated[
        str | None,
        typer.Option("--sizes", metavar="N,N", help="Vectors of a user; by default up to all."),
    ] = None,
    effort: Annotated[
        str | None,
        typer.Option("--effort", metavar="E,E", help="Efforts to try, beside the default."),
    ] = None,
    queries: Annotated[
        int | None, typer.Option("--queries", metavar="N", help="Searches that make a mean.")
    ] = None,
    k: Annotated[int, typer.Option("--k", metavar="K", help="Hits of a search.")] = 10,
    target: Annotated[
        float, typer.Option("--target", metavar="RECALL", help="Recall that is enough.")
    ] = 0.95,
    metric: Annotated[
        Metric | None,
        typer.Option(
            "--metric",
            help="Of all indexes; by default that of their files, or else cosine.",
            show_default=False,
        ),
    ] = None,
    delay: Annotated[
        float,
        typer.Option(
            "--delay",
            metavar="MS",
            help="Milliseconds to add for each round trip: an emulator is nearer than a service.",
        ),
    ] = 0.0,
    users: Annotated[
        int, typer.Option("--users", metavar="N", help="Workload: users with vectors.")
    ] = 1000,
    searches_per_day: Annotated[
        float,
        typer.Option("--searches-per-day", metavar="N", help="Workload: searches of each user."),
    ] = 20.0,
    upserts_per_day: Annotated[
        float,
        typer.Option("--upserts-per-day", metavar="N", help="Workload: new vectors of each user."),
    ] = 40.0,
    active: Annotated[
        float,
        typer.Option(
            "--active",
            metavar="SHARE",
            help="Workload: share of the users whose vectors an embedded index has in memory.",
        ),
    ] = 0.1,
    prices: Annotated[
        Path | None,
        typer.Option("--prices", metavar="FILE", help="Prices in place of the built-in ones."),
    ] = None,
    text_bytes: Annotated[
        int,
        typer.Option("--text-bytes", metavar="N", help="Text of a vector, where there is none."),
    ] = 200,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of every draw.")] = 0,
    out: Annotated[
        Path,
        typer.Option("--out", metavar="NAME", help="Writes NAME.json, and NAME.html where it can."),
    ] = Path("comparison"),
    html: Annotated[
        bool | None,
        typer.Option(
            "--html/--no-html",
            help="The page with plots; it takes the extra report.",
            show_default=False,
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A first look: few vectors, queries and efforts.")
    ] = False,
    no_optimize: Annotated[
        bool, typer.Option("--no-optimize", help="Don't run optimize after each load.")
    ] = False,
    setup: Annotated[
        bool, typer.Option("--setup", help="Create tables that are missing; they stay.")
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the vectors there; otherwise they are erased.")
    ] = False,
) -> None:
    """Load two or more vector indexes with the same vectors, measure them, and say which to use.

    Recall against exact search, units, requests, round trips, latency, memory and room, price by
    size and effort. Other users of an index are left alone. What is measured is kept in NAME.json
    at once: repeat the command to go on after an interruption, or to price another workload.
    """
    from ialstore.compare.costs import Workload
    from ialstore.compare.drawing import require_plots
    from ialstore.compare.measure import Plan, measure
    from ialstore.compare.model import Basis, Journal
    from ialstore.compare.report import Asked, make_report
    from ialstore.prices import load_prices
    from ialstore.vector_model import IndexSpec

    if len(where) < 2:  # noqa: PLR2004 - one can't be compared
        raise ConfigurationError("name two indexes or more: ialstore compare URL URL --data FILE")
    _within(k, "--k", 1, 1000)
    _within(target, "--target", 0, 1)
    _within(delay, "--delay", 0, 60_000)
    _within(active, "--active", 0, 1)
    _within(users, "--users", 1, 10**10)
    _within(searches_per_day, "--searches-per-day", 0, 10**6)
    _within(upserts_per_day, "--upserts-per-day", 0, 10**6)
    _within(text_bytes, "--text-bytes", 0, 2048)
    table = load_prices(prices)
    if html:
        require_plots()
    searched = queries or (_QUICK_QUERIES if quick else _QUERIES)
    _within(searched, "--queries", 1, 10_000)
    efforts = _numbers(effort, "--effort", float) or (_QUICK_EFFORTS if quick else _EFFORTS)
    for one in efforts:
        if not 0 < one <= 1:
            raise InvalidInputError("--effort must be above 0, at most 1")
    given = _configs(where)
    chosen = _metric(given, metric)
    found = _data(common, data, user, searched, seed)
    subjects = _subjects(given, IndexSpec(found.dimension, chosen))
    asked = Asked(
        names=tuple(one.name for one in subjects),
        sizes=_sizes(sizes, found, quick=quick),
        k=k,
        ks=tuple(sorted({*_KS, k})),
        delay_ms=delay,
        target=target,
        workload=Workload(
            users=users,
            searches_per_day=searches_per_day,
            upserts_per_day=upserts_per_day,
            active=active,
        ),
    )
    plan = Plan(
        sizes=asked.sizes,
        efforts=(*efforts, None),
        k=k,
        ks=asked.ks,
        text_bytes=text_bytes,
        upserts=min(_UPSERTS, len(found.queries)),
        optimize=not no_optimize,
        setup=setup,
        keep=keep,
    )
    basis = Basis(
        data=found.name,
        digest=found.digest,
        dimension=found.dimension,
        queries=len(found.queries),
        metric=chosen,
        seed=seed,
        text_bytes=text_bytes,
        optimized=not no_optimize,
    )
    environment = _environment()
    journal = Journal.at(out.with_name(f"{out.name}.json"), basis, environment)
    load = _load()
    with common.out.progress("comparing") as progress:
        measure(subjects, found, plan, journal, progress, say=common.out.note)
    environment["load average"] = f"{load:.2f} to {_load():.2f}"  # a mean of the last minute
    report = make_report(journal.run, asked, table)
    document = journal.write(report.document())
    page = None if html is False else _page(common.out, report, out.with_name(f"{out.name}.html"))
    if common.json:
        common.out.document(document)
        return
    _show(common.out, report)
    written = [str(one) for one in (journal.path, page) if one is not None]
    common.out.note(f"written: {', '.join(written)}")


def _data(common: Common, source: str | None, user: str | None, queries: int, seed: int) -> Dataset:
    from ialstore.compare.data import FILES, read
    from ialstore.compare.footprint import is_missing
    from ialstore.config import load_config
    from ialstore.url import redact_url

    if source is not None and source.endswith(FILES):
        return read(source, None, load_config({}), queries=queries, seed=seed)
    if source is None and common.url is None and user is None:
        raise ConfigurationError(
            "say what to load: --data FILE, or --user USER and the --url of a store"
        )
    if source is not None and ":" not in source:
        raise ConfigurationError(
            f"{source} is no file that ends in {' or '.join(FILES)}, and no URL of a store"
        )
    given = common if source is None else replace(common, url=source)
    config = given.load()
    if user is not None and is_missing(config.conversation.url):  # reading it would make it
        raise ConfigurationError(f"there is no store at {redact_url(config.conversation.url)}")
    name = f"messages in {redact_url(config.conversation.url)}"
    return read(name, user, config, queries=queries, seed=seed)


def _configs(where: Sequence[str]) -> list[tuple[str, str, Config]]:
    """Return the name, the source and the configuration of each index."""
    from ialstore.config import load_config
    from ialstore.url import redact_url

    given: list[tuple[str, str, Config]] = []
    for text in where:
        match = _NAMED.fullmatch(text)
        name, source = match.groups() if match else ("", text)
        is_file = source.endswith(".toml")
        config = load_config(source if is_file else {"vector": {"url": source}})
        if not config.vector.url:
            raise ConfigurationError(f"{source}: no vector index is configured")
        if any(config.vector == other.vector for *_, other in given):
            raise ConfigurationError(f"{redact_url(config.vector.url)} is named twice")
        given.append((name, source if is_file else "", config))
    return given


def _metric(given: Sequence[tuple[str, str, Config]], asked: Metric | None) -> str:
    """Return the metric that is asked for or that configuration files say.

    Raises:
        ConfigurationError: they differ.
    """
    said = [(source, config.vector.metric) for _, source, config in given if source]
    for source, metric in said:
        if asked is not None and metric != asked.value:
            raise ConfigurationError(
                f"{source} says metric {metric}, and --metric is {asked.value}"
            )
        if metric != said[0][1]:
            raise ConfigurationError(
                f"{source} says metric {metric}, and {said[0][0]} {said[0][1]}"
            )
    if asked is not None:
        return asked.value
    return said[0][1] if said else Metric.COSINE.value


def _subjects(given: Sequence[tuple[str, str, Config]], spec: IndexSpec) -> list[Subject]:
    from ialstore.compare.measure import Subject
    from ialstore.url import redact_url

    schemes = [config.vector.url.partition(":")[0].lower() for *_, config in given]
    subjects: list[Subject] = []
    for (name, _, config), scheme in zip(given, schemes, strict=True):
        short = scheme if schemes.count(scheme) == 1 else redact_url(config.vector.url)
        subjects.append(Subject(name=name or short, config=config, spec=spec))
    names = [one.name for one in subjects]
    for one in names:
        if names.count(one) > 1:
            raise ConfigurationError(f"two indexes are called {one}; write NAME=URL")
    return subjects


def _sizes(given: str | None, data: Dataset, *, quick: bool) -> tuple[int, ...]:
    every = len(data.vectors)
    wanted = _numbers(given, "--sizes", int)
    for one in wanted:
        if not 1 <= one <= every:
            raise InvalidInputError(
                f"--sizes must be 1 to {every:,}: so many vectors of {data.name} are no queries"
            )
    if wanted:
        return wanted
    usual = _QUICK_SIZES if quick else _SIZES
    less = [one for one in usual if one < every]
    return (*less, every) if len(less) < len(usual) else tuple(less)


def _numbers(given: str | None, option: str, kind: Callable[[str], T]) -> tuple[T, ...]:
    """Return what ``1,2,3`` holds, ascending; nothing if it is not given."""
    if given is None:
        return ()
    try:
        return tuple(sorted({kind(one) for one in given.split(",")}))
    except ValueError:
        raise InvalidInputError(f"{option} must be numbers with commas between: 1,2") from None


def _within(value: float, option: str, least: float, most: float) -> None:
    if not least <= value <= most:
        raise InvalidInputError(f"{option} must be {least:,} to {most:,}")


def _environment() -> dict[str, str]:
    return {
        "ialstore": __version__,
        "Python": platform.python_version(),
        "numpy": version("numpy"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": str(os.cpu_count() or "?"),
        "on": f"{datetime.now(UTC):%Y-%m-%d}",
    }


def _load() -> float:
    """Return how many processes want a core, a mean of the last minute; 0 where none tells."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def _show(out: Output, report: Report) -> None:
    out.heading("Verdict")
    for sentence in report.verdict:
        out.line(sentence)
    for table in report.tables:
        out.heading(table.title)
        out.table(table.columns, table.rows, keys=table.keys)
    out.heading("What to know")
    for note in report.notes:
        out.line(note)


def _page(out: Output, report: Report, path: Path) -> Path | None:
    """Write the page with plots; without what draws them say so."""
    from ialstore.compare.page import page

    try:
        text = page(report)
    except MissingDriverError as error:
        out.note(str(error))
        return None
    path.write_text(text, encoding="utf-8")
    return path
