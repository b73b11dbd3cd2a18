"""Where the commands print: tables on standard output, what is wrong on standard error."""

from __future__ import annotations

from typing import NoReturn

from rich.console import Console


class _Output(Console):
    def on_broken_pipe(self) -> NoReturn:
        """Leaves it to `endings`: Rich would end the process here."""
        raise  # noqa: PLE0704  # the error that Rich is handling


# Text as it is: `:x:` is no emoji here. What is wrong is text throughout, each thing in one line.
out = _Output(emoji=False)
err = _Output(stderr=True, emoji=False, markup=False, highlight=False, soft_wrap=True)
