"""Where the commands print: tables on standard output, what is wrong on standard error."""

from __future__ import annotations

from rich.console import Console

out, err = Console(), Console(stderr=True)
