"""``ialstore copy``: everything of one store into another, any to any."""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ialstore.cli.common import Common, is_there, kinds_of, require_database
from ialstore.cli.exits import ExitCode, NothingFoundError
from ialstore.cli.lookup import known_users
from ialstore.cli.options import SinceOption
from ialstore.cli.text import counted, parse_time
from ialstore.errors import ConfigurationError, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Sequence

    from ialstore.config import Config, ConversationSection
    from ialstore.migrate import CopyOptions, CopyReport, Journal, UserReport
    from ialstore.migrate.plan import Part

__all__ = ["copy"]

_NUMBERS: Final = (
    "stored",
    "replaced",
    "deleted",
    "missing",
    "different",
    "extra",
    "expired",
)
_DONE: Final = _NUMBERS[:3]
_NAMED: Final = 20
"""Users named that differ."""


class Kept(StrEnum):
    """What is copied."""

    CONVERSATIONS = "conversations"
    VECTORS = "vectors"


_KINDS: Final = {Kept.CONVERSATIONS: "conversation", Kept.VECTORS: "vector"}
_NOUNS: Final = {Kept.CONVERSATIONS: "message", Kept.VECTORS: "vector"}


def copy(
    common: Common,
    *,
    source: Annotated[
        str, typer.Argument(metavar="FROM", help="URL of a store, or a configuration file.")
    ],
    target: Annotated[
        str, typer.Argument(metavar="TO", help="URL of a store, or a configuration file.")
    ],
    only: Annotated[
        Kept | None,
        typer.Option("--only", metavar="WHAT", help="Only conversations, or only vectors."),
    ] = None,
    user: Annotated[
        list[str] | None,
        typer.Option("--user", "-u", metavar="USER", help="Only this user; may come again."),
    ] = None,
    users_from: Annotated[
        Path | None,
        typer.Option("--users-from", metavar="FILE", help="Only users named there, one a line."),
    ] = None,
    since: SinceOption = None,
    delete_extra: Annotated[
        bool, typer.Option("--delete-extra", help="Remove from TO what FROM does not hold.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what there is to do, and do nothing.")
    ] = False,
    verify_only: Annotated[
        bool, typer.Option("--verify-only", help="Compare, and name the users that differ.")
    ] = False,
    journal: Annotated[
        Path,
        typer.Option("--journal", metavar="FILE", help="Where a stopped copy finds its place."),
    ] = Path("ialstore-copy.journal"),
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin anew where a stopped copy could go on.")
    ] = False,
) -> ExitCode:
    """Copy conversations and vectors from one store to another, and compare them.

    Ids, times, expiry and all other fields stay as they are. Both stores may be in use. The command
    can be stopped at any time, and goes on when it is repeated; repeated after its end, it copies
    what is new. What only TO holds is named, and stays unless --delete-extra is given.

    The exit code is 1 if a user differs in the end, or a --user is nowhere. The embedder that the
    vectors were made with is that of each configuration file; for a URL it is the one of the
    configuration in force.
    """
    from ialstore.migrate import CopyOptions, copy, verify
    from ialstore.migrate.plan import check_plan

    if common.url is not None:
        raise InvalidInputError("copy takes its stores as FROM and TO, not by --url")
    if dry_run and verify_only:
        raise InvalidInputError("give either --dry-run or --verify-only, not both")
    options = CopyOptions(
        users=_users(user, users_from),
        since=parse_time(since, "--since"),
        delete_extra=delete_extra,
    )
    reads = dry_run or verify_only
    places = (_place(common, source), _place(common, target))
    kinds = _kinds(places, only)
    if source == target or all(
        _are_one(*(one.section(kept).url for one in places)) for kept in kinds
    ):
        raise InvalidInputError("FROM and TO are the same; name another TO")
    found: dict[Kept, CopyReport] = {}
    with ExitStack() as opened:
        parts = {
            kept: opened.enter_context(_opened(kept, *places, reads=reads, dry_run=dry_run))
            for kept in kinds
        }
        for pair in parts.values():
            check_plan(*pair, options)
        key = _key(places, list(parts), options)
        with nullcontext() if reads else _journal(common, journal, key, restart=restart) as noted:
            for kept, pair in parts.items():
                what = "comparing" if noted is None else "copying"
                with common.out.progress(f"{what} {kept}") as progress:
                    if noted is None:
                        found[kept] = verify(*pair, options, progress=progress)
                    else:
                        found[kept] = copy(*pair, options, journal=noted, progress=progress)
        _tell(common, places, found, reads=reads, dry_run=dry_run)
        if only is None:
            _name_left_out(common, places)
        if noted is None or not noted.is_resumed:  # which may have removed all there was
            _require_users(user or (), [source for source, _ in parts.values()], found.values())
    same = all(report.same for report in found.values())
    return ExitCode.OK if same or dry_run else ExitCode.DIFFERENT


@dataclass(frozen=True, slots=True)
class _Place:
    """A store as it was named.

    Attributes:
        config: opens it.
        kinds: what it can hold.
    """

    config: Config
    kinds: tuple[Kept, ...]

    def section(self, kept: Kept) -> ConversationSection:
        """Return what the configuration says of where these are kept."""
        return self.config.conversation if kept is Kept.CONVERSATIONS else self.config.vector


def _users(named: list[str] | None, file: Path | None) -> tuple[str, ...] | None:
    users = list(named or ())
    if file is not None:
        try:
            lines = file.read_text(encoding="utf-8").split("\n")
        except UnicodeDecodeError:
            raise InvalidInputError(f"{file} is not UTF-8") from None
        users += [_user_of(line) for line in lines if line.strip()]
    return tuple(dict.fromkeys(users)) if named or file is not None else None


def _user_of(line: str) -> str:
    """Return the user id of a line: plain, or as JSON writes a text."""
    if not line.startswith('"'):
        return line.rstrip("\r")
    try:
        return str(json.loads(line))
    except ValueError:
        raise InvalidInputError("--users-from: a line in quotes is no JSON text") from None


def _place(common: Common, named: str) -> _Place:
    from ialstore.config import load_config
    from ialstore.url import StoreURL

    if "://" not in named and named.endswith(".toml"):
        config = load_config(Path(named))
        return _Place(config, tuple(Kept) if config.vector.url else (Kept.CONVERSATIONS,))
    here = common.load()
    config = load_config(
        {
            "conversation": {"url": named},
            "vector": {"url": named, "metric": here.vector.metric},
            "embedder": {"use": here.embedder.use, **here.embedder.options},
        }
    )
    found = kinds_of(StoreURL.parse(named).scheme)
    kinds = tuple(kept for kept, kind in _KINDS.items() if kind in found)
    return _Place(config, kinds)


def _kinds(places: tuple[_Place, _Place], only: Kept | None) -> list[Kept]:
    source, target = places
    kinds = [one for one in source.kinds if one in target.kinds and only in (None, one)]
    if not kinds:
        what = only or " nor ".join(Kept)
        raise ConfigurationError(f"FROM and TO don't both keep {what}")
    return kinds


def _are_one(url: str, other: str) -> bool:
    """Whether two URLs lead to the same file or folder."""
    from ialstore.compare.footprint import file_of

    return (path := file_of(url)) is not None and path == file_of(other)


@contextmanager
def _opened(
    kept: Kept, source: _Place, target: _Place, *, reads: bool, dry_run: bool
) -> Generator[tuple[Part, Part]]:
    """Open what keeps these on both sides; a target that a dry run would make is an empty one."""
    require_database(source.section(kept).url, "name another FROM")
    if dry_run and not is_there(target.section(kept).url):
        target = _Place(_elsewhere(target.config), target.kinds)
    elif reads:
        require_database(target.section(kept).url, "name another TO")
    with ExitStack() as opened:
        parts = _open(kept, source), _open(kept, target)
        for part in parts:
            opened.callback(part.close)
        yield parts


def _open(kept: Kept, place: _Place) -> Part:
    from ialstore.config import open_index, open_store

    if kept is Kept.CONVERSATIONS:
        return open_store(place.config)
    return open_index(place.config)


def _elsewhere(config: Config) -> Config:
    """Return a configuration whose stores are empty and in memory."""
    return replace(
        config,
        conversation=replace(config.conversation, url="memory:", wrap=(), options={}),
        vector=replace(config.vector, url="memory:", wrap=(), options={}),
    )


def _key(places: tuple[_Place, _Place], kinds: list[Kept], options: CopyOptions) -> str:
    """Return what names this copy in a journal: where from and to, and what; no credentials."""
    from ialstore.migrate.journal import journal_key
    from ialstore.url import StoreURL

    named: list[object] = []
    for section in (place.section(kept) for place in places for kept in kinds):
        url = StoreURL.parse(section.url).with_options(section.options)
        query = sorted(url.query.items())
        named.append((url.scheme, url.authority, url.path, query, section.wrap))
    return journal_key(kinds, named, asdict(options))


@contextmanager
def _journal(common: Common, path: Path, key: str, *, restart: bool) -> Generator[Journal]:
    from ialstore.migrate import Journal

    journal = Journal(path, key, restart=restart)
    try:
        with journal:
            if journal.is_resumed:
                common.out.note(f"going on with what {path} has of a copy that was stopped")
            yield journal
    except Exception:
        common.out.warn("what is copied stays; the same command goes on from there")
        raise


def _tell(
    common: Common,
    places: tuple[_Place, _Place],
    found: dict[Kept, CopyReport],
    *,
    reads: bool,
    dry_run: bool,
) -> None:
    from ialstore.url import redact_url

    if common.json:
        source, target = places
        items = [
            {
                "part": _KINDS[kept],
                "source": redact_url(source.section(kept).url),
                "target": redact_url(target.section(kept).url),
                "same": report.same,
                "resumed": report.resumed,
                **{name: report.total(name) for name in _NUMBERS},
                "users": [{**asdict(one), "same": one.same} for one in report.users],
            }
            for kept, report in found.items()
        ]
        common.out.document({"items": items})
        return
    for kept, report in found.items():
        common.out.line(f"{kept}: {_summary(kept, report, reads=reads, dry_run=dry_run)}")
        if not dry_run:
            _name(common, report.differing)
        if report.total("expired"):
            common.out.warn(
                f"{report.total('expired'):,} are older than TO keeps them (retention_days) "
                "and were left out"
            )


def _name_left_out(common: Common, places: tuple[_Place, _Place]) -> None:
    """Say what FROM keeps and TO can't."""
    source, target = places
    for kept in source.kinds:
        if kept not in target.kinds:
            common.out.warn(f"TO keeps no {kept}: those of FROM are not copied")


def _name(common: Common, differing: Sequence[UserReport]) -> None:
    """Say for whom the two sides differ, and what can be done about it."""
    for one in differing[:_NAMED]:
        common.out.line(
            f"  {one.user_id}: {one.source.count:,} in FROM, {one.target.count:,} in TO: "
            f"{one.missing:,} missing, {one.different:,} different, {one.extra:,} only in TO, "
            f"such as {one.examples[0]}"
        )
    if differing[_NAMED:]:
        common.out.line(f"  and {len(differing) - _NAMED:,} more; --json names all")
    if any(one.extra for one in differing):
        common.out.note("--delete-extra removes what is only in TO")


def _require_users(
    named: Sequence[str], sources: Sequence[Part], reports: Collection[CopyReport]
) -> None:
    """Refuse a user who is nowhere: rather misspelt than copied.

    Raises:
        NothingFoundError: neither side has anything of one of them.
    """
    touched = {one.user_id for report in reports for one in report.users if not _is_blank(one)}
    for user_id in dict.fromkeys(named):
        if user_id in touched or any(_has(part, user_id) for part in sources):
            continue
        hint = next((known for part in sources if (known := known_users(part))), "")
        raise NothingFoundError(
            f"neither FROM nor TO has anything of user {user_id}; "
            + (f"known to FROM: {hint}" if hint else "check the id and FROM")
        )


def _is_blank(report: UserReport) -> bool:
    """Whether nothing was found of a user, and nothing done."""
    return report == type(report)(user_id=report.user_id)


def _has(part: Part, user_id: str) -> bool:
    """Whether a store or index has anything of a user, of whatever time."""
    from ialstore.vector import VectorIndex

    if isinstance(part, VectorIndex):
        return bool(part.ids(user_id, limit=1).items)
    return bool(part.history(user_id, limit=1).items)


def _summary(kept: Kept, report: CopyReport, *, reads: bool, dry_run: bool) -> str:
    held = sum(one.source.count for one in report.users)
    what = f"{counted(held, _NOUNS[kept])} of {counted(len(report.users), 'user')}"
    if dry_run:
        return (
            f"{what}; {report.total('missing'):,} to store, {report.total('different'):,} to "
            f"replace, {report.total('extra'):,} only in TO"
        )
    done = [] if reads else [f"{report.total(name):,} {name}" for name in _DONE]
    if report.resumed:
        done.append(f"{counted(report.resumed, 'user')} done before")
    differing = len(report.differing)
    verdict = (
        f"TO differs for {counted(differing, 'user')}"
        if differing
        else "counts and hashes agree for every user"
    )
    return "; ".join(filter(None, (what, ", ".join(done), verdict)))
