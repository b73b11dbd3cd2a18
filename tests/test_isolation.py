"""A contender that sets globals, crashes, hangs, eats memory or prints garbage costs one row."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import hostile_contenders
import pytest
from recordings import quiet
from surroundings import Command
from trainings import TINY, case

from harness.cli.check import outcome
from harness.jobs.local import Local
from harness.proof import check
from harness.records import (
    CertificateResult,
    EndedResult,
    EpochResult,
    Store,
    TrainedResult,
    of_kind,
)
from harness.spec import Access, Case, Options

pytestmark = pytest.mark.slow
Plant = Callable[[str, str], None]

# sets everything when it is built, not when it is imported
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

# Deeds where it is built and where it is examined.
EVIL = """
from contenders import from_forward
from hostile_contenders import DEEDS
from harness.adapter import Variant
from harness.reference.network import ReferenceNetwork

DEVIATIONS, build = (), ReferenceNetwork

def raises(network):
    raise RuntimeError("it is broken")

FORMS = {"Late": from_forward(lambda right, x: DEEDS["exits"]())}
FORMS["dies"] = lambda network: DEEDS["crashes"]()
FORMS["hangs"] = lambda network: DEEDS["hangs"]()
FORMS["raises"] = raises
VARIANTS = {name: Variant((), form) for name, form in FORMS.items()}
VARIANTS["marked"] = Variant(("another",), FORMS["dies"])
"""
# One that takes no NeuNorm, and is wrong or right without.
PARTIAL = """
from dataclasses import replace

from harness.adapter import Unsupported, Variant
from harness.reference.network import ReferenceNetwork

DEVIATIONS = ()

def build(network):
    if network.neunorm:
        raise Unsupported("no NeuNorm here")
    return ReferenceNetwork(network)

def wrong(network):
    return build(replace(network, lif=replace(network.lif, k_tau=0.7)))

VARIANTS = {"wrong": Variant((), wrong)}
"""


def trained(out: Path, *cases: Case) -> list[list[float]]:
    """The losses of each case, epoch by epoch."""
    out.mkdir()
    ended = list(Local().train(cases, Store(out), Access(out), quiet))
    assert [result.case for result in ended] == list(cases)
    return [[row.result.loss for row in of_kind(case.rows, EpochResult)] for case in ended]


@pytest.mark.usefixtures("no_data_of_the_machine")
def test_settings_of_one_framework_leave_the_next_ones_weights(
    plant: Plant, tmp_path: Path
) -> None:
    plant("sets", SETS)
    (alone,) = trained(tmp_path / "alone", case(contender="reference"))
    out, cases = tmp_path / "both", (case(contender="sets"), case(contender="reference"))
    first = trained(out, *cases)
    assert (tmp_path / "site" / "sets_module.built").exists()
    assert alone == first[1] and len(alone) == 2
    proofs = [row.result for row in of_kind(Store(out).read()[0], CertificateResult)]
    outcomes = [proof.certificate_precision for proof in proofs if proof.layer is None]
    assert outcomes == ["fp64", "fp32"] * 2


def test_a_contender_that_dies_or_hangs_in_its_exam_costs_its_own_line(
    plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "SILENCE", 30.0)
    plant("evil", EVIL)
    plant("absent", "import os\nos._exit(3)")
    why = {
        "evil:dies": "died of SIGSEGV",
        "evil:hangs": "was ended as hung",
        "evil:raises": "RuntimeError: it is broken",
        "evil:Late": "ended with exit code 3",
    }
    others = {"absent": "its process ended with exit code 3", "evil:marked": "", "reference": ""}
    only = Options(datasets=("cifar10",), networks=(TINY,), width=Fraction(1), data_root=tmp_path)
    lines = {line.name: line for line in check.prove_adapters((*why, *others), only, quiet)}
    assert list(lines) == [*why, *others]
    for name, words in (why | others).items():
        assert words in lines[name].reason
        assert lines[name].failed == (name in why)  # a marked one does not claim to be equal
    assert len(lines["reference"].proofs) == 6
    assert all(proof.certificate.passed for proof in lines["reference"].proofs)


def test_what_one_network_lacks_hides_no_proof_of_another(plant: Plant, tmp_path: Path) -> None:
    plant("partial", PARTIAL)
    only = Options(datasets=("cifar10",), networks=(TINY,), width=Fraction(1), data_root=tmp_path)
    right, wrong = check.prove_adapters(("partial", "partial:wrong"), only, quiet)
    assert (len(right.proofs), right.failed) == (2, False)
    assert (len(wrong.proofs), wrong.failed) == (2, True)
    for result, says in ((right, "equal: 2 of 2"), (wrong, "FAILED: 0 of 2")):
        text = outcome(result).plain
        assert says in text and "NeuNorm literal (no NeuNorm here)" in text


@pytest.mark.usefixtures("no_data_of_the_machine")
def test_a_contender_that_dies_costs_its_own_training(plant: Plant, tmp_path: Path) -> None:
    plant("planted", "from hostile_contenders import DEVIATIONS, VARIANTS, build\n")
    forms = ("planted:crashes", "planted:eats", "planted:babbles", "reference")
    size: dict[str, Any] = {"T": hostile_contenders.T, "batch_size": hostile_contenders.BATCH}
    trained(tmp_path / "out", *(case(contender=form, **size) for form in forms))
    rows = Store(tmp_path / "out").read()[0]
    ended = {row.contender.variant: row.result.reason for row in of_kind(rows, EndedResult)}
    assert set(ended) == {"crashes", "eats"}
    assert "SIGSEGV" in ended["crashes"] and "can't allocate memory" in ended["eats"]
    done = [row.contender.suffix or row.contender.name for row in of_kind(rows, TrainedResult)]
    assert done == ["babbles", "reference"]


def test_list_and_doctor_name_failed_imports_and_their_settings(
    plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    plant("crashes", "import os\nos.kill(os.getpid(), 11)")
    plant("sets", "import torch\ntorch.use_deterministic_algorithms(True)\n" + SETS)
    monkeypatch.setenv("COLUMNS", "240")
    for words in (("list", "frameworks"), ("doctor", "--data-root", tmp_path)):
        code, out, _ = command(*words)
        text = " ".join(out.split())
        assert code == 0
        assert "crashes does not load: its process died of SIGSEGV" in text
        assert "sets: sets deterministic algorithms to on at import" in text
        assert "snntorch 1.0.0 the paper's" in text
