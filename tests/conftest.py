"""Fixtures of all tests, and an environment that decides no test."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from surroundings import Command, declare

from adapters import facts
from harness import cli
from harness.machine import kept
from harness.machine.files import make_user_cache

# What a user's shell may have set must decide no test: colours, widths, buffers, folders of data.
for name in (
    *("FORCE_COLOR", "NO_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE", "TTY_INTERACTIVE"),
    *("COLUMNS", "LINES", "TERMINAL_WIDTH", "PYTHONUNBUFFERED", "GITHUB_ACTIONS"),
    *("HARNESS_DATA", "HARNESS_OCTAVE", "_HARNESS_COMPLETE"),
    *("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"),
):
    os.environ.pop(name, None)

# Background jobs of a shell ignore signals, and children of tests would inherit that.
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
    if signal.getsignal(number) is signal.SIG_IGN:
        usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, usual)

# Networks in tests are too small for more, and on a busy machine two threads wait for each other.
torch.set_num_threads(1)

# Kernels that were compiled stay so, also where a test hides the user's cache folder: they take
# minutes.
with suppress(OSError):
    os.environ.setdefault("NUMBA_CACHE_DIR", str(make_user_cache("numba")))

os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")  # it compiles sooner
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when triton is first imported


@pytest.fixture(autouse=True)
def settings_stay() -> Iterator[None]:
    """Fail a test that leaves torch's global settings changed, and restore them."""
    earlier = torch.get_default_dtype(), torch.get_num_threads()
    yield
    kept.share_with("all")  # a training in this process changes it, as in its own
    later = torch.get_default_dtype(), torch.get_num_threads()
    torch.set_default_dtype(earlier[0])
    torch.set_num_threads(earlier[1])
    assert later == earlier


@pytest.fixture
def no_data_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the machine's data sets and caches, but for compiled kernels."""
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache" / name))


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run `harness ARGUMENTS` in this process: exit code, standard output, standard error."""

    def called(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["harness", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        output = capsys.readouterr()
        return int(ended.value.code or 0), output.out, output.err

    return called


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Install an adapter of that name and source until the test ends."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr(facts, "_known", dict(facts._known))
    modules = set(sys.modules)

    def planted(name: str, source: str) -> None:
        declare(site, name, source)
        facts._known.pop(name, None)
        facts._declared_on.cache_clear()

    yield planted
    for name in set(sys.modules) - modules:
        if name.endswith("_module"):
            del sys.modules[name]
