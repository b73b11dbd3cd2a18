"""The instrument: measures spiking-network frameworks on the networks of Wu et al. (AAAI 2019).

Shape letters, used on every signature of the package: T time steps, B batch, C channels or feature
maps, H and W height and width, N neurons of a flat layer, K classes.

This is also the notebook's door (docs/notebook.md): `harness.run`, `harness.results` and
`harness.report` are imported when they are first asked for. No module here imports from it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from harness.machine.installed import VERSION as __version__
from harness.spec import Options, UsageError

if TYPE_CHECKING:
    from harness.api import CasesFailed, report, results, run
    from harness.reports.stored import Results

_ROOMS = dict.fromkeys(("CasesFailed", "report", "results", "run"), "api")
_ROOMS |= {"Results": "reports.stored"}
__all__ = ["CasesFailed", "Options", "Results", "UsageError", "__version__"]
__all__ += ["report", "results", "run"]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if not TYPE_CHECKING:  # a checker of types would take any name for one of ours

    def __getattr__(name: str) -> object:
        """Import a public name when it is first used; pandas and torch come with it."""
        if name in _ROOMS:
            return getattr(import_module(f"harness.{_ROOMS[name]}"), name)
        raise AttributeError(f"module 'harness' has no attribute {name!r}")
