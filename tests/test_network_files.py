"""Networks in files on the command line: written by `harness export`, taken by `harness run`."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("nir", reason="pip install 'snn-harness[nir]'")

from harness.cli.app import call  # noqa: E402
from harness.conformance import small  # noqa: E402
from harness.formats import (  # noqa: E402
    files,  # noqa: E402
    nir_file,
    weights,
)
from harness.proof import check  # noqa: E402
from harness.spec import Network, NetworkFile, Options, UsageError  # noqa: E402
from harness.suites import SUITES  # noqa: E402


def file_of(network: Network, *, says_a: bool = True) -> Options:
    given = NetworkFile("x.nir", network, "0" * 64, says_a)
    names: dict[str, Any] = {"networks": ("x.nir",), "datasets": ("cifar10",)}
    return Options(**names, suite="scale", frameworks=("fused",), files=(given,), device="cpu")


def test_a_suite_takes_structure_neuron_and_weights_from_the_file() -> None:
    network = small("cifar10", neunorm="literal")
    for suite in ("acceleration", "scale", "neunorm", "timesteps", "ablations"):
        cases = SUITES[suite].cases(file_of(network))
        assert cases
        for case in cases:
            assert case.weights_sha256 == "0" * 64 and case.scale == "custom" and case.width == 1
            assert case.network.neunorm == network.neunorm
            assert str(case.network) == str(network)
        assert {case.network.lif for case in cases} >= {network.lif}
        assert len(set(cases)) == len(cases) or suite == "neunorm"


def test_a_file_without_a_surrogate_gets_that_of_the_data_set() -> None:
    network = small("cifar10")
    wide = replace(network, lif=replace(network.lif, a=7.0))
    (case,) = SUITES["acceleration"].cases(file_of(wide, says_a=False))[:1]
    assert case.network.lif == network.lif
    (case,) = SUITES["acceleration"].cases(file_of(wide))[:1]
    assert case.network.lif.a == 7.0


FITS = {
    r"of inputs \(2, 34, 34\), CIFAR-10 has \(3, 32, 32\)": file_of(small("nmnist")),
    "has 5 classes, CIFAR-10 has 10": file_of(replace(small("cifar10"), classes=5)),
    "leave --width out": replace(file_of(small("cifar10")), width=Fraction(1, 8)),
    "leave --neunorm out": replace(file_of(small("cifar10")), neunorm="mean"),
}


@pytest.mark.parametrize("sentence", FITS)
def test_a_file_that_does_not_fit_what_is_asked_is_one_sentence(sentence: str) -> None:
    for suite in ("acceleration", "scale", "energy"):
        with pytest.raises(UsageError, match=sentence):
            SUITES[suite].cases(FITS[sentence])


CALLS = [
    (["run", "--suite", "scale", "--networks", "none.nir"], "cannot read none.nir"),
    (["run", "--suite", "baselines", "--networks", "none.nir"], "reads no network files"),
    (["check", "reference", "--networks", "none.nir"], "cannot read none.nir"),
    (["run", "--suite", "acceleration", "--keep-weights"], "leave --keep-weights out"),
    (["export", "Small", "--to", "x.h5"], "a name that ends in .nir was expected"),
    (["export", "Huge", "--to", "x.nir"], "unknown network 'Huge'"),
    (["export", "Small", "--to", "x.nir", "--weights", "none"], "none is no file"),
    (["export", "Small", "--to", "x.nir", "--dataset", "imagenet"], "unknown data set 'imagenet'"),
    (["export", "Small"], "Missing option '--to'"),
]


@pytest.mark.parametrize(("arguments", "sentence"), CALLS, ids=lambda each: " ".join(each)[:40])
def test_bad_input_is_one_sentence_exit_2_and_nothing_written(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(*arguments) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_data_of_the_machine")
def test_what_export_writes_is_what_run_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ["export", "Small", "--width", "1/8", "--neunorm", "mean", "--to", "small.nir"]
    assert call(*asked) == 0
    read = files.named(["Small", "small.nir"], "scale")
    (file,) = read
    assert file.network == small("cifar10", neunorm="mean")
    files.keep(read, tmp_path / "out")
    kept = weights.of_hash(tmp_path / "out", file.weights_sha256, file.network)
    for ours, theirs in zip(kept, nir_file.read(Path("small.nir")).parameters, strict=True):
        assert torch.equal(ours, theirs)


def test_check_examines_a_file_once_with_its_own_neunorm(tmp_path: Path) -> None:
    selection = file_of(small("cifar10", neunorm="literal"))
    scope = replace(selection, data_root=tmp_path)
    (found,) = check.examined(("reference",), scope, lambda *_: None)
    assert [each.named for each in found.proofs] == ["CIFAR-10 custom NeuNorm literal"] * 2
    assert all(each.certificate.passed for each in found.proofs)
