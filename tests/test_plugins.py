"""Adapters of other packages: whose code they time, how they fail, the example to copy."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from rows import CASE, altered, row, rows_of_a_run
from surroundings import Command

import adapters
from adapters import facts
from harness import api, conformance
from harness.adapter import CONTRACT
from harness.analysis import timings
from harness.analysis.frame import frames
from harness.proof import check
from harness.proof.exam import Exam
from harness.proof.installation import installation_of
from harness.records import CertificateResult, Store
from harness.records.store import line_of
from harness.reports import stored
from harness.spec import Options, UsageError
from harness.suites import suite

ROOT = Path(__file__).resolve().parents[1]
Plant = Callable[[str, str], None]
OWN, CELL, OURS = (
    "the framework's own class", "our function in the framework's cell", "ours",
)  # fmt: skip
PLAIN = """
from harness.reference.network import ReferenceNetwork as build
DEVIATIONS = ()
"""
# A package with a neuron of its own, and an adapter that steps it.
NEURON = """
from harness.reference.neuron import LIFCell
class Neuron(LIFCell): pass
"""
STEPS = """
from functools import partial
from harness.adapter import Variant
from harness.reference.network import ReferenceNetwork, StepNetwork
from spiky import Neuron
DEVIATIONS, PACKAGES = (), ("spiky-dist",)
build = partial(StepNetwork, cell=Neuron)
VARIANTS = {
    "plain": Variant((), ReferenceNetwork, NEURON="ours"),
    "other": Variant((), build),
    "untrue": Variant((), ReferenceNetwork, NEURON="the framework's own class"),
}
"""
PACKAGELESS = STEPS.replace('("spiky-dist",)', "()").partition("VARIANTS")[0]


@pytest.fixture
def spiky(plant: Plant, tmp_path: Path) -> None:
    """Install the package `spiky-dist`, which is imported as `spiky`."""
    site = tmp_path / "site"
    (site / "spiky.py").write_text(NEURON)
    info = site / "spiky_dist-2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: spiky-dist\nVersion: 2.0\n")
    (info / "RECORD").write_text("spiky.py,,\nspiky_dist-2.0.dist-info/METADATA,,\n")


def test_every_adapter_of_ours_says_whose_code_is_timed() -> None:
    plain = {"fused": OURS, "reference": OURS, "jax": OURS, "octave": OURS}
    plain |= {"snntorch": OWN, "spikingjelly": OWN, "norse": CELL, "sinabs": CELL}
    variants = {"norse:super": OWN, "sinabs:defaults": OWN}
    for name in adapters.available():
        own_facts = facts.look_up(name)
        assert (own_facts.neuron, own_facts.undeclared) == (plain[name], ())
        for variant in own_facts.variants:
            expected = variants.get(f"{name}:{variant}", plain[name])
            assert own_facts.neuron_of(variant) == expected == own_facts.neuron_of(variant)
        assert own_facts.neuron_of("compiled") == plain[name]


def test_an_own_class_is_found_in_the_built_module(plant: Plant, spiky: None) -> None:
    plant("steps", STEPS + f'NEURON = "{OWN}"')
    steps = facts.look_up("steps")
    neurons = {form: steps.neuron_of(form) for form in ("", *steps.variants)}
    assert neurons == {"": OWN, "plain": OURS, "other": OWN, "untrue": None}
    (sentence,) = steps.undeclared
    assert "steps:untrue" in sentence and "no module of spiky-dist" in sentence


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (PLAIN, "has no NEURON"),
        (PLAIN + "NEURON = 'mine'", "NEURON is 'mine'"),
        (PLAIN + f'NEURON = "{OWN}"', "no module of any package"),
        # the adapter's own file, and what all share, are not the framework
        (
            PLAIN + f'PACKAGES = "torch", "undeclared-pkg"\nNEURON = "{OWN}"\n'
            "class Mine(build): pass\nbuild = Mine",
            "no module of torch or undeclared-pkg",
        ),
        (PLAIN + f'NEURON = "{OWN}"\ndef build(network): 1 / 0', "ZeroDivisionError"),
    ],
    ids=["none", "unknown", "own without a class", "only torch's", "does not build"],
)  # fmt: skip
def test_what_is_not_declared_is_a_sentence_and_stays_usable(
    source: str, says: str, plant: Plant, spiky: None, command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    plant("undeclared", source)
    undeclared = facts.look_up("undeclared")
    assert (undeclared.missing, undeclared.neuron) == ("", None)
    (sentence,) = undeclared.undeclared
    assert re.search(says, sentence) and "\n" not in sentence
    assert OURS in sentence or OWN in sentence  # what it may be
    checks = conformance.checks("undeclared")
    (declares,) = (check for check in checks if "whose code" in str(check))
    with pytest.raises(conformance.Broken, match=says):
        declares()
    monkeypatch.setenv("COLUMNS", "300")
    code, out, _ = command("list", "frameworks")
    lines = (line.strip(" │|") for line in out.splitlines())
    line, note = (line for line in lines if line.startswith("undeclared"))
    assert code == 0 and "not declared" in line and re.search(says, note)


def test_rows_and_tables_say_whose_code_was_timed(
    plant: Plant, spiky: None, tmp_path: Path
) -> None:
    plant("steps", STEPS + f'NEURON = "{OWN}"')
    contenders = ("steps", "steps:plain", "steps:untrue", "reference", "floor")
    neurons = {name: installation_of(altered(CASE, contender=name)).neuron for name in contenders}
    assert [*neurons.values()] == [OWN, OURS, None, OURS, None]
    telling, silent = (row(CertificateResult, contender="norse", neuron=n) for n in (CELL, None))
    assert "neuron" in line_of(telling) and "neuron" not in line_of(silent)
    Store(tmp_path / "out").append(telling)
    assert Store(tmp_path / "out").read()[0][0].installation.neuron == CELL
    rows, name = rows_of_a_run(), "snntorch"
    declared = [altered(r, neuron=OWN) if r.contender.framework == name else r for r in rows]
    column = timings.table(timings.lines(frames(declared))).set_index("framework")["neuron"]
    assert {*column[name]} == {OWN} and column["floor"] == ""
    assert {*column.drop([name, "floor"])} == {"not declared"}
    proofs = stored.proofs(frames(declared)).set_index("contender")["neuron"]
    assert (proofs[name], proofs["reference"]) == (OWN, "not declared")


def test_the_version_is_the_frameworks_where_the_plug_in_is_named_after_it(
    plant: Plant, spiky: None, tmp_path: Path
) -> None:
    """The entry point `spiky_dist` is of the package `spiky_dist-pkg` 1.0."""
    plant("spiky_dist", "raise ValueError('broken')")
    assert facts.look_up("spiky_dist").version == "2.0"  # also where it does not load
    source = PACKAGELESS + f'NEURON = "{OWN}"'
    (tmp_path / "site" / "spiky_dist_module.py").write_text(source)
    facts._known.pop("spiky_dist")
    dist = facts.look_up("spiky_dist")
    assert (dist.version, dist.packages, dist.neuron) == ("2.0", {"spiky_dist": "2.0"}, OWN)


def test_a_broken_plug_in_is_no_default_and_is_named(
    plant: Plant, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant("broken", "raise ValueError('of its own')")
    plant("whole", PLAIN + 'NEURON = "ours"')
    options = Options(suite="acceleration", quick=True, device="cpu")
    names = {case.contender.name for case in api.cases(options, suite("acceleration"))}
    assert "whole" in names and "broken" not in names
    assert "norse" in names  # one of ours stays: its row says how to get it
    named = replace(options, frameworks=("broken",))
    assert {case.contender.name for case in api.cases(named, suite("acceleration"))} == {"broken"}
    monkeypatch.setattr(
        "harness.api.executor",
        lambda *_: SimpleNamespace(measure=lambda *_: (), train=lambda *_: ()),
    )
    code, _, error = command("run", "--suite", "acceleration", "--quick", "--out", tmp_path / "out")
    assert code == 0 and error.count("broken does not load: ValueError: of its own") == 1
    monkeypatch.setenv("COLUMNS", "300")
    lines = {words[0]: line for line in command("list", "frameworks")[1].splitlines()
             if (words := line.strip(" │|").split())}  # fmt: skip
    assert " yes" in lines["whole"] and " yes" not in lines["broken"]
    assert "ValueError: of its own" in lines["broken"]


def test_a_plug_in_of_another_contract_is_refused_in_a_sentence(plant: Plant) -> None:
    plant("later", PLAIN + f"CONTRACT = {CONTRACT + 1}\nVARIANTS = 'of a kind to come'")
    plant("same", PLAIN + f"CONTRACT = {CONTRACT}")
    refusal = str(adapters.missing("later"))
    for words in (f"contract {CONTRACT + 1}", f"contract {CONTRACT}", "later-pkg"):
        assert words in refusal and "\n" not in refusal
    assert adapters.missing("same") is None


SHAPED = """
import torch
from torch import nn
from functools import partial
from harness.reference.network import StepNetwork
from harness.reference.neuron import LIFCell

class Cell(LIFCell):
    def __init__(self, lif, shape):
        super().__init__(lif)
        self.register_buffer("of_layer", torch.zeros(shape))

    def forward(self, current, state):
        assert current.shape[1:] == self.of_layer.shape
        return super().forward(current + self.of_layer, state)

DEVIATIONS, NEURON = (), "ours"
build = partial(StepNetwork, cell=Cell)
"""


def test_a_cell_that_asks_for_its_layers_shape_gets_it(plant: Plant) -> None:
    plant("shaped", SHAPED)
    network = conformance.small("cifar10", neunorm="mean")
    module = adapters.load("shaped").build(network)
    shapes = [buffer.shape for name, buffer in module.named_buffers() if "of_layer" in name]
    assert shapes == [stage.output_shape for stage in network.stages]
    batch = conformance.random_batch(network, 4, 4, static=True)
    assert Exam(network, batch, "fp64").certify(adapters.load("shaped")).passed


def test_a_check_says_how_long_it_takes(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.proof.check.prove_adapters", lambda *_: ())
    code, out, _ = command("check", "reference", "--networks", "Small", "--datasets", "cifar10")
    assert code == 0 and re.search(r"^6 exams of 1 adapter, about [\d.]+ s", out)
    one = Options(networks=("Small",), datasets=("cifar10",))
    few, more = (check.estimate(names, one) for names in (("reference",), ("reference", "norse")))
    assert (few.exams, more.exams) == (6, 12) and more.seconds > few.seconds


@pytest.mark.slow
def test_the_example_copied_and_renamed_by_its_readme_passes_its_test(tmp_path: Path) -> None:
    """Each command of the README, as it stands; pip fetches nothing, and installs into a folder."""
    copy, site = tmp_path / "copy", tmp_path / "site"
    shutil.copytree(ROOT / "examples" / "plugin", copy)
    readme = (copy / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```bash\n(.*?)```", readme, re.DOTALL)
    assert len(blocks) == 2
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {
        **os.environ, "NAME": "comet", "PATH": path, "PYTHONPATH": f"{site}{os.pathsep}{ROOT}",
        "PIP_TARGET": str(site), "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0",
        "PIP_NO_INDEX": "1", "OMP_NUM_THREADS": "1", "COLUMNS": "200",
    }  # fmt: skip
    outputs = []
    for block in blocks:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block], env=environment, cwd=copy, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-2000:]
        outputs.append(done.stdout)
    assert re.search(r" 24 passed in ", outputs[1])  # 18 exams, and 6 other checks
    lines = map(str.split, outputs[1].splitlines())
    (line,) = (line for line in lines if line and line[0] == "comet")
    assert line[1] == "0.1.0" and " ".join(line).endswith("its class")
    stale = [str(file) for file in copy.rglob("*") if file.suffix != ".pyc" and file.is_file()
            and "mysnn" in file.read_text(encoding="utf-8")]  # fmt: skip
    assert stale == []


def test_the_kit_checks_the_named_networks_alone() -> None:
    few = conformance.checks("reference", networks=["Small"])
    assert 0 < len(few) < len(conformance.checks("reference"))
    assert not any(" Large" in str(check) for check in few)
    with pytest.raises(UsageError, match="unknown network 'Tiny', choose from Small"):
        conformance.checks("reference", networks=["Tiny"])
