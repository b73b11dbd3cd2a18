"""The application: its commands, in the order that help shows them."""

from __future__ import annotations

import os
import re
import sys
from typing import Annotated, Any

import typer
from typer.main import get_command

from harness.api import Work
from harness.cli import check, endings, export, status, tables
from harness.cli import list as list_
from harness.cli.console import did_you_mean, takes
from harness.machine.installed import VERSION, check_adapters
from harness.spec import Options, UsageError
from harness.spec.options import GIVEN

app = typer.Typer(
    pretty_exceptions_enable=False,
    help="Honest comparison of spiking-neural-network frameworks on the networks of Wu et al., "
    "AAAI 2019: every contender is proved equal before it is timed.",
)


@app.command()
@takes(*(option.name for option in GIVEN))
def run(**values: Any) -> None:
    """Measure a suite; each row is kept under OUT/records as it comes."""
    work = Work.prepare(Options.parse(**values), ("harness", *sys.argv[1:]))
    from harness.cli import measuring

    measuring.run(work)


for command in (
    *(check.check, check.versions, list_.list_, list_.doctor),
    *(tables.tables_, tables.report, tables.compare),
    *(status.status, status.verify, export.export),
):
    app.command(command.__name__.rstrip("_"))(command)

NAME = "harness"
_COMPLETE = "_HARNESS_COMPLETE"  # set by the script that `--install-completion` writes


def _say_version(is_on: bool) -> None:
    """Print the version and exit, if the option stands in the command."""
    if is_on:
        print(f"snn-harness {VERSION}")
        raise typer.Exit


_Version = typer.Option("--version", help="Say the version.", callback=_say_version, is_eager=True)


@app.callback()
def _whole(version: Annotated[bool, _Version] = False) -> None:
    pass


def call(*arguments: str) -> int:
    """Run `harness ARGUMENTS`; return the exit code. A fault is one sentence on standard error."""
    command = get_command(app)
    command.rich_markup_mode = None  # type: ignore[attr-defined]  # in colours it takes twice as long
    arguments = arguments or ("--help",)
    if _COMPLETE in os.environ:
        command.main([*arguments], prog_name=NAME)  # prints completions and ends the process
    try:  # not command(): that one ends the process on an interruption in its own way
        check_adapters()
        with command.make_context(NAME, [*arguments]) as context:
            command.invoke(context)
    except typer.Exit as end:
        return end.exit_code
    except typer.TyperException as error:
        message = error.format_message()
        if near := vars(error).get("possibilities"):  # the nearest comes first
            message = f"{error.message}: did you mean {near[0]}?"
        # a suite without its option: "run acceleration"
        if extra := re.search(r"unexpected extra argument\(s\) \((\S+)\)", message):
            from harness.suites import SUITES

            near = did_you_mean(extra[1], SUITES) if arguments[0] == "run" else ""
            message += f": {near.replace('mean ', 'mean --suite ')}" if near else ""
        return _wrong(message.replace("Value error, ", ""))  # pydantic's, of a choice
    except UsageError as error:
        return _wrong(str(error))
    return 0


def _wrong(sentence: str) -> int:
    endings.say(f"harness: {sentence}")
    return endings.WRONG
