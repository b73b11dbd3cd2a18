"""Where the commands print: tables on standard output, what is wrong on standard error."""

from __future__ import annotations

from rich.console import Console

# Text as it is: `:x:` is no emoji here. What is wrong is text throughout, each thing in one line.
out = Console(emoji=False)
err = Console(stderr=True, emoji=False, markup=False, highlight=False, soft_wrap=True)
