"""``ialstore cost``: what a workload costs a month, what would be cheaper, and what to plan for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ialstore.cli.common import Common, is_for_vectors, kinds_of
from ialstore.costing.bill import Billing
from ialstore.errors import ConfigurationError, InvalidInputError
from ialstore.estimate import Workload

if TYPE_CHECKING:
    from ialstore.config import Config
    from ialstore.costing import Configuration, Part

__all__ = ["cost"]

_DEFAULT_URLS: Final = ("dynamodb://app-", "lsh+dynamodb://app-")
"""What is priced where nothing is configured."""
_DEFAULTS: Final = {one.name: one.default for one in fields(Workload)}
_PANEL: Final = "Workload"


def _figure(name: str, text: str) -> Any:
    return typer.Option(
        f"--{name.replace('_', '-')}",
        metavar="N",
        help=text,
        show_default=f"{_DEFAULTS[name]:g}",
        rich_help_panel=_PANEL,
    )


def cost(
    common: Common,
    urls: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[URL]...",
            help="Stores and indexes to price; otherwise those that are configured, or DynamoDB.",
        ),
    ] = None,
    *,
    workload: Annotated[
        Path | None,
        typer.Option(
            "--workload",
            metavar="FILE",
            help="A TOML file with the figures below; options override it.",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    users: Annotated[int | None, _figure("users", "Users who talk on a day.")] = None,
    turns_per_day: Annotated[
        float | None, _figure("turns_per_day", "Questions, with their answers, of a user a day.")
    ] = None,
    sessions_per_day: Annotated[
        float | None, _figure("sessions_per_day", "Sessions of a user a day.")
    ] = None,
    session_minutes: Annotated[
        float | None, _figure("session_minutes", "Minutes that a session lasts.")
    ] = None,
    message_bytes: Annotated[
        int | None, _figure("message_bytes", "Bytes of a question, or of an answer.")
    ] = None,
    dimension: Annotated[int | None, _figure("dimension", "Numbers in a vector.")] = None,
    retention_days: Annotated[
        float | None, _figure("retention_days", "Days after which all expires.")
    ] = None,
    keep_for_ever: Annotated[
        bool,
        typer.Option("--keep-for-ever", help="Nothing expires.", rich_help_panel=_PANEL),
    ] = False,
    recent_messages: Annotated[
        int | None, _figure("recent_messages", "Newest messages in a context.")
    ] = None,
    memories: Annotated[
        int | None, _figure("memories", "Memories in a context; 0 never searches.")
    ] = None,
    contexts_per_turn: Annotated[
        float | None, _figure("contexts_per_turn", "Contexts built in a turn.")
    ] = None,
    listings_per_day: Annotated[
        float | None, _figure("listings_per_day", "Lists of a user's sessions a day.")
    ] = None,
    summaries_per_day: Annotated[
        float | None,
        _figure("summaries_per_day", "Pages of 20 summaries of a user, and of a session, a day."),
    ] = None,
    peak_factor: Annotated[
        float | None, _figure("peak_factor", "Load of the busiest hour, in means.")
    ] = None,
    hot_user_factor: Annotated[
        float | None, _figure("hot_user_factor", "Load of the busiest user, in means.")
    ] = None,
    billing: Annotated[
        Billing | None, typer.Option("--billing", help="How reads and writes are paid.")
    ] = None,
    cache_hit_rate: Annotated[
        float | None,
        typer.Option(
            "--cache-hit-rate",
            metavar="SHARE",
            help="With a cache in front, which answers so much of what it can answer: 0 to 1.",
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            "--host",
            metavar="TYPE",
            help="With machines for embedded stores, as many as they need.",
        ),
    ] = None,
    prices: Annotated[
        Path | None,
        typer.Option(
            "--prices",
            metavar="FILE",
            help="Your prices. Otherwise IALSTORE_PRICES, or the table that comes with ialstore.",
        ),
    ] = None,
    print_prices: Annotated[
        bool, typer.Option("--print-prices", help="Print the table of prices, to start from.")
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show each call: how often, and what it takes.")
    ] = False,
) -> None:
    """Show what a workload costs a month, what would be cheaper, and what to plan for.

    Nothing is connected to. Units come from what the stores predict of each call, money from a
    dated table of list prices: check yours.
    """
    from ialstore.cli.cost_report import CostReport
    from ialstore.costing import Pricer
    from ialstore.prices import load_prices, prices_file

    if print_prices:
        load_prices(prices)  # refuses what is wrong
        for text in prices_file(prices).read_text(encoding="utf-8").splitlines():
            common.out.line(text)
        return
    given = {name: value for name, value in locals().items() if name in _DEFAULTS}
    configuration, retention = _configuration(common, urls or [], billing, host)
    asked = _workload(workload, given, retention, is_kept=keep_for_ever)
    pricer = Pricer(asked, load_prices(prices))
    if cache_hit_rate is not None:
        configuration = replace(configuration, cache=pricer.cache(cache_hit_rate))
    with common.out.progress("pricing alternatives"):
        report = CostReport(pricer, configuration)
    if common.json:
        common.out.document(report.document())
    else:
        report.show(common.out, explain=explain)


def _workload(
    path: Path | None, given: dict[str, Any], retention: float | None, *, is_kept: bool
) -> Workload:
    """Return the workload of a file and options, which win, and of a configured retention."""
    from ialstore._toml import read_toml
    from ialstore.url import validated

    values: dict[str, Any] = {} if retention is None else {"retention_days": retention}
    if path is not None:
        values |= read_toml(path)
    values |= {name: value for name, value in given.items() if value is not None}
    if is_kept:
        if given["retention_days"] is not None:
            raise InvalidInputError("give either --retention-days or --keep-for-ever, not both")
        values["retention_days"] = None
    return validated(Workload, values, "workload: " if path is None else f"{path}: ")


def _configuration(
    common: Common, urls: list[str], billing: Billing | None, host: str | None
) -> tuple[Configuration, float | None]:
    """Return what is to be priced, and the retention that is configured."""
    from ialstore.costing import Configuration

    retention: float | None = None
    if urls:
        if common.config is not None or common.url is not None:
            raise ConfigurationError("give either URLs or --config or --url, not both")
        parts = list(_parts(urls))
    else:
        config = common.load()
        if common.url is None and config.origin == "built-in defaults":
            parts = list(_parts(_DEFAULT_URLS))
        else:
            parts = list(_configured(config))
            retention = config.conversation.retention_days
    if billing is None:
        configured = {part.value("billing") for part in parts if part.has_option("billing")}
        provisioned = Billing.PROVISIONED in configured
        billing = Billing.PROVISIONED if provisioned else Billing.ON_DEMAND
    machines = {} if host is None else {f"hosts.{host}": 1.0}
    return Configuration(parts=tuple(parts), billing=billing, machines=machines), retention


def _parts(urls: Sequence[str]) -> Iterator[Part]:
    """Yield what URLs keep: conversations, vectors, or both where no other is for one of them.

    Raises:
        ConfigurationError: a URL comes twice, or has nothing left to keep.
    """
    from ialstore.costing import Part
    from ialstore.url import StoreURL, redact_url

    parsed = [StoreURL.parse(url) for url in urls]
    kinds = [kinds_of(one.scheme) for one in parsed]
    kept_alone = {names[0] for names in kinds if len(names) == 1}
    for url, one, names in zip(urls, parsed, kinds, strict=True):
        mine = names if len(names) == 1 else [name for name in names if name not in kept_alone]
        if not mine or urls.count(url) > 1:
            raise ConfigurationError(
                f"{redact_url(url)} has nothing to keep beside the others; to compare systems, "
                "price each alone"
            )
        for kind in mine:
            yield Part(kind, one)


def _configured(config: Config) -> Iterator[Part]:
    """Yield the store and the index of a configuration."""
    from ialstore.costing import Part
    from ialstore.url import StoreURL

    for kind, section in (("conversation", config.conversation), ("vector", config.vector)):
        only_vectors = kind == "conversation" and is_for_vectors(section.url)
        if section.url and not only_vectors:
            yield Part(kind, StoreURL.parse(section.url).with_options(section.options))
