"""What a notebook does with the harness: run a suite, read its rows as tables."""

from harness.notebook.command import CasesFailed, run
from harness.notebook.stored import Results, results

__all__ = ["CasesFailed", "Results", "results", "run"]
