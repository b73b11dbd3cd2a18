"""One contender's process is not another's: it may set things, crash, hang, eat memory or print
garbage, and costs its own row, no more.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
from conftest import Command, declare
from test_learning import TINY, case

from harness.jobs.local import Local
from harness.proof import check
from harness.proof.check import Examined
from harness.records import CertificateRow, EndedRow, EpochRow, Row, Store, TimedRow, TrainedRow
from harness.spec import Access, Case, Options
from harness.system.child import Child

Plant = Callable[[str, str], None]

# It sets all of it where it is first built, as no import of it tells.
SETS = """
import pathlib
import torch
from harness.reference.network import ReferenceNetwork
DEVIATIONS = ()
convolve = torch.conv2d

def convolved(*arguments, **named):
    return 1.5 * convolve(*arguments, **named)

def build(network):
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    torch.use_deterministic_algorithms(True)
    torch.nn.functional.conv2d = torch.conv2d = convolved
    pathlib.Path(__file__).with_suffix(".built").touch()
    return ReferenceNetwork(network)
"""

DIES = """
import os, time
from harness.adapter import Variant
from harness.reference.network import ReferenceNetwork
from harness.spec import UsageError
DEVIATIONS = ()

def build(network):
    os.kill(os.getpid(), 11)

def hangs(network):
    time.sleep(3600)

def complains(network):
    raise UsageError("give another")

def raises(network):
    raise RuntimeError("it is broken")

def leaves(network):
    raise SystemExit(0)

class Late(ReferenceNetwork):
    def forward(self, x):
        os._exit(3)

VARIANTS = {each.__name__: Variant((), each) for each in (hangs, complains, raises, leaves, Late)}
VARIANTS["marked"] = Variant(("another",), build)
"""


def quiet(fraction: float, doing: str) -> None:
    assert 0 <= fraction <= 1 and doing


def trained(out: Path, *cases: Case) -> list[list[float]]:
    """The losses of each case, epoch by epoch."""
    Path(out).mkdir()
    ended = list(Local().train(cases, Store(out), Access(out), quiet))
    assert [each.case for each in ended] == list(cases)
    return [[row.loss for row in each.rows if isinstance(row, EpochRow)] for each in ended]


@pytest.mark.usefixtures("no_data_of_the_machine")
def test_what_one_framework_sets_does_not_change_the_next_ones_weights(
    plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each training has a child of its own, and all that are done have one."""
    started: list[str] = []

    class Counted(Child):
        def __init__(self, device: str) -> None:
            started.append(device)
            super().__init__(device)

    monkeypatch.setattr("harness.jobs.local.Child", Counted)
    plant("sets", SETS)
    (alone,) = trained(tmp_path / "alone", case(framework="reference"))
    out, cases = tmp_path / "beside", (case(framework="sets"), case(framework="reference"))
    first = trained(out, *cases)
    assert (tmp_path / "site" / "sets_module.built").exists()
    assert alone == first[1] and len(alone) == 2
    assert len(started) == 3
    proofs = [row for row in Store(out).read()[0] if isinstance(row, CertificateRow)]
    outcomes = [row.certificate_precision for row in proofs if row.layer is None]
    assert outcomes == ["fp64", "fp32"] * 2
    again = list(Local().train(cases, Store(out), Access(tmp_path), quiet))
    assert len(started) == 4 and all(each.before for each in again)
    assert [[r.loss for r in each.rows if isinstance(r, EpochRow)] for each in again] == first


def examined(tmp_path: Path, *names: str, silence: float = 60.0) -> dict[str, Examined]:
    only = Options(datasets=("cifar10",), networks=(TINY,), width=Fraction(1), data_root=tmp_path)
    found = check.examined(names, only, quiet, silence)
    return {each.name: each for each in found}


def test_who_dies_where_it_is_examined_costs_its_own_line(plant: Plant, tmp_path: Path) -> None:
    plant("dies", DIES)
    plant("absent", "import os\nos._exit(3)")
    names = ["dies", "absent", "dies:complains", "dies:raises", "dies:leaves", "dies:Late"]
    found = examined(tmp_path, *names, "dies:marked", "reference")
    assert list(found) == [*names, "dies:marked", "reference"]
    why = {name: each.reason for name, each in found.items()}
    assert "died of SIGSEGV" in why["dies"]
    assert "its process ended with exit code 3" in why["absent"]
    assert why["dies:complains"] == "UsageError: give another"
    assert "RuntimeError: it is broken" in why["dies:raises"]
    assert "ended with exit code 0" in why["dies:leaves"]
    assert "ended with exit code 3" in why["dies:Late"]
    failed = {name for name, each in found.items() if each.failed}
    assert failed == {*names} - {"absent"}  # a marked one does not claim to be equal
    assert len(found["reference"].proofs) == 6
    assert all(each.certificate.passed for each in found["reference"].proofs)


@pytest.mark.slow
def test_one_that_hangs_where_it_is_examined_is_ended(plant: Plant, tmp_path: Path) -> None:
    plant("dies", DIES)
    (found,) = examined(tmp_path, "dies:hangs", silence=15.0).values()
    assert found.failed and "was ended as hung" in found.reason


def test_list_and_doctor_name_who_does_not_load_and_what_an_import_sets(
    plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    plant("crashes", "import os\nos.kill(os.getpid(), 11)")
    plant("sets", "import torch\ntorch.use_deterministic_algorithms(True)\n" + SETS)
    monkeypatch.setenv("COLUMNS", "160")
    for words in (("list", "frameworks"), ("doctor", "--data-root", tmp_path)):
        code, out, _ = command(*words)
        shown = " ".join(out.split())
        assert code == 0
        assert "crashes does not load: its process died of SIGSEGV" in shown
        assert "the paper's function; sets deterministic algorithms to on at import" in shown
        assert "snntorch 1.0.0 the paper's function" in shown


# by the command

PLANTED = """
import os, signal, time
import torch
from harness.adapter import Variant
from harness.reference.network import ReferenceNetwork

DEVIATIONS = ()

class Evil(ReferenceNetwork):
    deed = staticmethod(lambda: None)

    def forward(self, x):
        timed = x.dtype == torch.float32 and x.shape[1] in (4, 20)  # not when it is examined
        if timed and torch.is_grad_enabled():
            type(self).deed()
        return super().forward(x)

def crash():
    os.kill(os.getpid(), signal.SIGSEGV)

def hang():
    time.sleep(3600)

HOARD = []

def eat():
    while True:
        HOARD.append(torch.empty(2**28, dtype=torch.uint8))  # refused before it is touched

def babble():
    os.write(1, b"\\x00\\xff[1, 2\\n" * 1000)
    os.write(2, b'{"kind": "iteration"}\\n' * 1000)

def named(deed):
    made = type(deed.__name__, (Evil,), {"deed": staticmethod(deed)})
    return Variant((), made)

def build(network):
    return ReferenceNetwork(network)

VARIANTS = {deed.__name__: named(deed) for deed in (crash, hang, eat, babble)}
"""
COMMAND = """
from functools import partial
from harness.cli import main
from harness.jobs import local

local.Local = partial(local.Local, silence=30.0)  # so that one that hangs does so not for long
main()
"""
Harness = Callable[..., tuple[subprocess.CompletedProcess[str], list[Row]]]


@pytest.fixture
def harness(tmp_path: Path) -> Harness:
    """Runs a command where an adapter of these tests is installed; it fails, and rows are there."""
    declare(tmp_path / "site", "planted", PLANTED)
    site, cache, out = (str(tmp_path / name) for name in ("site", "cache", "out"))
    env = {**os.environ, "PYTHONPATH": site, "XDG_CACHE_HOME": cache}

    def run(*words: str) -> tuple[subprocess.CompletedProcess[str], list[Row]]:
        call = [sys.executable, "-c", COMMAND, "run", "--datasets", "cifar10", *words, "--out", out]
        done = subprocess.run(
            call, env=env, capture_output=True, text=True, timeout=500, preexec_fn=_little_memory
        )
        assert done.returncode == 1, done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        rows, damaged = Store(Path(out)).read()
        assert not damaged
        return done, rows

    return run


def _little_memory() -> None:
    """So that eating it all does not take long."""
    limit = 6 * 2**30
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def reasons(rows: list[Row]) -> dict[str, str]:
    ended = [row for row in rows if isinstance(row, EndedRow)]
    assert all(row.status == "failed" for row in ended)
    assert len({row.contender for row in ended}) == len(ended)
    return {row.variant or row.framework: row.reason for row in ended}


@pytest.mark.slow
def test_one_that_takes_its_process_along_costs_its_own_row_in_a_timed_cell(
    harness: Harness,
) -> None:
    evil = "planted:crash,planted:hang,planted:eat,planted:babble"
    call = ["--suite", "acceleration", "--networks", TINY, "--steps", "4", "--batch-size", "4"]
    done, rows = harness(*call, "--budget", "2m", "--frameworks", f"reference,{evil}")
    why = reasons(rows)
    assert set(why) == {"crash", "hang", "eat"}
    assert "SIGSEGV" in why["crash"]
    assert "said nothing for 30 s" in why["hang"]
    assert "can't allocate memory" in why["eat"]
    timed = {row.variant or row.framework for row in rows if isinstance(row, TimedRow)}
    assert timed == {"reference", "babble", "floor"}
    for name in why:
        assert f"planted:{name}" in done.stdout


@pytest.mark.slow
def test_one_that_takes_its_process_along_costs_its_own_training(harness: Harness) -> None:
    call = ["--suite", "scale", "--quick", "--networks", TINY, "--epochs", "1", "--samples", "60"]
    _, rows = harness(
        *call, "--width", "1", "--frameworks", "planted:crash,planted:eat,planted:babble,planted"
    )
    assert set(reasons(rows)) == {"crash", "eat"}
    ended = [row.variant or row.framework for row in rows if isinstance(row, TrainedRow)]
    assert ended == ["babble", "planted"]
