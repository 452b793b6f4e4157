"""All commands in one place, and what happens around them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from ialstore._version import __version__
from ialstore.cli.backends import backends
from ialstore.cli.check import check
from ialstore.cli.common import ConfigOption, DebugOption, JsonOption, UrlOption, framed
from ialstore.cli.compare import compare
from ialstore.cli.config import check_config
from ialstore.cli.conformance import conformance
from ialstore.cli.context import context
from ialstore.cli.copy import copy
from ialstore.cli.cost import cost
from ialstore.cli.demo import demo
from ialstore.cli.erase import erase
from ialstore.cli.exits import ExitCode, print_error
from ialstore.cli.explain import explain
from ialstore.cli.export import export
from ialstore.cli.history import history
from ialstore.cli.iam_policy import iam_policy
from ialstore.cli.import_ import import_
from ialstore.cli.optimize import optimize
from ialstore.cli.repair import repair
from ialstore.cli.search import search
from ialstore.cli.sessions import sessions
from ialstore.cli.setup import setup
from ialstore.cli.stats import stats
from ialstore.cli.text import one_line
from ialstore.cli.users import users

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["run"]

_EPILOG: Final = (
    "Exit codes: 0 done; 1 nothing found, a difference found, or the answer was no; 2 the "
    "command, the configuration or the input is wrong; 3 the store or a file can't be used now; "
    "4 messages conflict with stored ones; 5 a fault of ialstore; 130 interrupted.\n\n"
    "Without --config and --url, and with no ialstore.toml here, everything is kept in "
    "./ialstore.db."
)

# Typer raises the errors of click, or of its own copy of click: this names either.
_UsageError: Final = cast("type[Exception]", typer.BadParameter.__mro__[1])


def _unlabelled(parameters: list[Any]) -> list[Any]:
    """Return parameters; what only is given or not shows no type in the help."""
    for one in parameters:
        if getattr(one, "is_flag", False):
            one.metavar = ""
    return parameters


class _Command(TyperCommand):
    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters for the parser and the help."""
        return _unlabelled(super().get_params(ctx))


class _Group(TyperGroup):
    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters for the parser and the help."""
        return _unlabelled(super().get_params(ctx))


_app = typer.Typer(
    name="ialstore",
    cls=_Group,
    help="The memory of an LLM agent: conversations, vectors, and the context built from both.",
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it so
    if wanted:
        typer.echo(f"ialstore {__version__}")
        raise typer.Exit


@_app.callback()
def _root(
    ctx: typer.Context,
    *,
    config: ConfigOption = None,
    url: UrlOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
    version: Annotated[  # noqa: ARG001 - its callback shows it
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    ctx.obj = {"config": config, "url": url, "json": json, "debug": debug}


_COMMANDS: Final[dict[str, dict[str, Callable[..., ExitCode | None]]]] = {
    "Start": {"demo": demo, "setup": setup, "iam-policy": iam_policy, "backends": backends},
    "Read": {
        "users": users,
        "sessions": sessions,
        "history": history,
        "search": search,
        "context": context,
        "stats": stats,
        "explain": explain,
    },
    "Move": {"import": import_, "export": export, "copy": copy},
    "Maintain": {"check": check, "repair": repair, "optimize": optimize, "erase": erase},
    "Plan": {"compare": compare, "cost": cost},
    "Prove": {"conformance": conformance},
}
"""By the heading that ``--help`` puts above them."""

for _panel, _commands in _COMMANDS.items():
    for _name, _command in _commands.items():
        _app.command(_name, cls=_Command, rich_help_panel=_panel)(framed(_command))

_config = typer.Typer(name="config", cls=_Group, help="Look at the configuration.")
_config.command("check", cls=_Command)(framed(check_config))
_app.add_typer(_config, rich_help_panel="Start")


def run(args: Sequence[str] | None) -> int:
    """Run one command; see ``main``."""
    given = list(sys.argv[1:] if args is None else args) or ["--help"]
    try:
        return int(
            get_command(_app).main(args=given, prog_name="ialstore", standalone_mode=False) or 0
        )
    except _UsageError as error:
        print_error(_usage(error), kind="UsageError", as_json="--json" in given)
        return ExitCode.USAGE


def _usage(error: Any) -> str:
    path = "ialstore" if error.ctx is None else error.ctx.command_path
    return f"{one_line(error.format_message()).rstrip('.')}; see {path} --help"
