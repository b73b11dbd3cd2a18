"""The application: its commands, in the order that help shows them."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import typer
from typer.main import get_command

from harness.cli import check, compare, doctor, endings, report, run, status, tables, verify
from harness.cli import list as list_
from harness.spec import UsageError
from harness.system.installed import check_adapters

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Honest comparison of spiking-neural-network frameworks on the networks of Wu et al., "
    "AAAI 2019: every contender is proved equal before it is timed.",
)
app.command()(run.run)
app.command()(check.check)
app.command("list")(list_.list_)
app.command()(doctor.doctor)
app.command("tables")(tables.tables_)
app.command()(report.report)
app.command()(compare.compare)
app.command()(status.status)
app.command()(verify.verify)

# Typer carries click's classes since 0.26 and imports click's own before: this is either's base
_WrongCall = cast(type[Exception], typer.BadParameter.__mro__[2])


def call(*arguments: str) -> int:
    """The exit code of `harness ARGUMENTS`; what is wrong with them is said in one sentence."""
    command = get_command(app)
    try:  # not command(): that one ends the process on an interruption in its own way
        _check_working_folder()
        check_adapters()
        with command.make_context("harness", [*arguments]) as context:
            command.invoke(context)
    except typer.Exit as end:
        return end.exit_code
    except _WrongCall as error:
        message = " ".join(error.format_message().split())  # type: ignore[attr-defined]
        message = message.replace("Value error, ", "")  # pydantic's, of a choice
        if message:  # else there were no arguments, and help is shown
            endings.say(f"harness: {message}")
        return endings.WRONG
    except UsageError as error:
        endings.say(f"harness: {error}")
        return endings.WRONG
    return 0


def _check_working_folder() -> None:
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise UsageError("the working folder is no longer there: change to one that is") from error
