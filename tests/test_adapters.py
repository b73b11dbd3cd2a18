"""How frameworks are found, and what is said of those that are not there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import get_args

import pytest
import torch
from conftest import TORCH, all_by_events

import adapters
from adapters import facts
from harness.adapter import Adapter
from harness.conformance import random_batch, small
from harness.proof.answer import Question, plain_pass
from harness.reference.initialise import initialised
from harness.reference.precision import DTYPES
from harness.spec import Network, NeuNorm, Precision, Reading, UsageError, paper

ROOT = Path(__file__).resolve().parents[1]
OURS = ("fused", "norse", "reference", "snntorch", "spikingjelly")


PLANTED = """
from harness.reference.network import ReferenceNetwork

DEVIATIONS = ()
REVISION = 3
PACKAGES = ("numpy", "not-installed-anywhere")


def build(network):
    return ReferenceNetwork(network)
"""


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose files lie beside those of adapters/, with one in it: planted.py."""
    folder = tmp_path / "adapters"
    folder.mkdir()
    (folder / "planted.py").write_text(PLANTED)
    monkeypatch.setattr(adapters, "__path__", [*adapters.__path__, str(folder)])
    monkeypatch.setattr(facts, "_known", dict(facts._known))
    facts._known.pop("planted", None)
    yield folder
    sys.modules.pop("adapters.planted", None)
    adapters.__dict__.pop("planted", None)


def test_a_file_is_a_framework(planted: Path) -> None:
    assert "planted" in adapters.names() and "planted" in adapters.available()
    network = small("cifar10")
    module = adapters.load("planted").build(network)
    spikes = module(random_batch(network, 2, 3, static=True))
    assert spikes.shape == (2, 3, network.classes * network.population)
    (planted / "planted.py").unlink()
    assert "planted" not in adapters.names()


def test_the_frameworks_of_this_project_load_here() -> None:
    # the tests of all adapters are those of `available()`: one that does not load would be left out
    reasons = {name: adapters.missing(name) for name in OURS}
    assert reasons == dict.fromkeys(OURS)


def test_an_adapter_says_its_revision_and_what_computes_for_it(planted: Path) -> None:
    assert adapters.revision("planted") == 3
    assert adapters.packages("planted") == (("numpy", metadata.version("numpy")),)
    assert adapters.revision("reference") == 0
    assert adapters.packages("reference") == ()
    assert adapters.packages("norse") == (("norse", metadata.version("norse")),)
    assert dict(adapters.packages("fused"))["numba"] == metadata.version("numba")


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("REVISION = 3", "REVISION = '3'", "REVISION in adapters.planted must be a whole number"),
        ("REVISION = 3", "REVISION = True", "REVISION in adapters.planted must be a whole number"),
        ('"not-installed-anywhere"', "3", "PACKAGES in adapters.planted must be a tuple"),
        ('("numpy", "not-installed-anywhere")', '"numpy"', "PACKAGES in adapters.planted must be"),
    ],
)
def test_a_revision_or_packages_of_another_type_are_said(
    planted: Path, before: str, after: str, said: str
) -> None:
    assert before in PLANTED
    (planted / "planted.py").write_text(PLANTED.replace(before, after))
    with pytest.raises(adapters.Missing, match=said):
        adapters.load("planted")
    assert said in (adapters.missing("planted") or "")


@pytest.mark.parametrize("name", adapters.available())
def test_the_plain_form_claims_to_be_the_papers_function_and_variants_say_if(
    name: str,
) -> None:
    assert isinstance(adapters.load(name), Adapter)
    assert adapters.load(name).DEVIATIONS == ()
    for variant in adapters.variants_of(name).values():
        equal = {"fused:dense", "jax:nchw", "octave:convn", "octave:conv2"}
        assert bool(variant.deviations) == (f"{name}:{variant.name}" not in equal)


def _variants(name: str) -> list[str]:
    return [f"{name}:{variant}" for variant in adapters.variants_of(name)]


def test_the_frameworks_have_variants() -> None:
    assert set(adapters.variants_of("snntorch")) == {"detached-reset", "subtract"}
    assert set(adapters.variants_of("spikingjelly")) == {"detached-reset", "defaults"}
    assert set(adapters.variants_of("norse")) == {"super"}
    assert set(adapters.variants_of("fused")) == {"dense", "detached-reset"}


FORMS: list[tuple[str, Precision]] = [
    (form, precision)
    for name in adapters.available()
    for form in (name, *_variants(name), *([f"{name}:channels-last"] if name in TORCH else []))
    for precision in get_args(Precision)
    if precision != "bf16" or name in TORCH
]


@pytest.mark.parametrize(("form", "precision"), FORMS)
def test_the_same_call_gives_the_same_bits(
    form: str, precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    if form.startswith("fused"):  # else the machine decides; fused:dense never does
        all_by_events(monkeypatch)
    for reading in (None, *get_args(Reading)):
        network = Network.parse(
            "4C3(Encoding)-AP2-6C3-6C3-AP2-8FC-Voting",
            input_shape=(3, 8, 8),
            lif=paper.settings("cifar10").lif,
            neunorm=NeuNorm(reading=reading) if reading else None,
        )
        x = random_batch(network, 4, 3, static=True).to(DTYPES[precision])
        weights = initialised(network, x, seed=0)
        question = Question(
            parameters=tuple(each.detach() for each in weights.parameters()),
            x=x[:1].contiguous(),
            steps=len(x),
            static=True,
            precision=precision,
            classes=network.classes,
            population=network.population,
            labels=torch.tensor([0, 1, 2]),
        )
        module = adapters.load(form).build(network).to(x.dtype)
        first = plain_pass(module, question)
        for _ in range(3):
            again = plain_pass(module, question)
            assert torch.equal(again.out, first.out)
            assert all(map(torch.equal, again.gradients, first.gradients))


def test_an_unknown_framework_or_variant_names_those_there_are() -> None:
    with pytest.raises(UsageError, match="unknown framework 'bindsnet', choose from .*reference"):
        adapters.load("bindsnet")
    with pytest.raises(UsageError, match="reference has: channels-last, compiled"):
        adapters.load("reference:fast")


def test_a_framework_that_is_not_installed_says_how_to_install_it(planted: Path) -> None:
    (planted / "planted.py").write_text("import not_installed_anywhere")
    reason = adapters.missing("planted")
    assert reason is not None
    assert "No module named 'not_installed_anywhere'" in reason
    assert "pip install 'snn-harness[planted]'" in reason
    assert "planted" not in adapters.available()
    with pytest.raises(adapters.Missing, match="pip install 'snn-harness"):
        adapters.load("planted")


def test_an_installed_package_offers_an_adapter_by_entry_point(
    plant: Callable[[str, str], None],
) -> None:
    plant("elsewhere", "from adapters.reference import *\nfrom adapters.reference import build")
    assert "elsewhere" in adapters.names()
    assert adapters.load("elsewhere").DEVIATIONS == ()
    assert adapters.version("elsewhere") == "1.0"
    assert adapters.packages("elsewhere") == (("elsewhere-pkg", "1.0"),)
    assert adapters.revision("elsewhere") == 0
    assert adapters.variants_of("elsewhere") == {}


def test_an_entry_point_that_does_not_load_names_its_package(
    plant: Callable[[str, str], None],
) -> None:
    plant("elsewhere", "import not_installed_anywhere")
    with pytest.raises(adapters.Missing, match="pip install elsewhere-pkg"):
        adapters.load("elsewhere")


def test_an_entry_point_that_is_no_module_is_said_to_be_none(
    plant: Callable[[str, str], None], tmp_path: Path
) -> None:
    plant("elsewhere", "build = None")
    (info,) = (tmp_path / "site").glob("*.dist-info")
    points = "[harness.adapters]\nelsewhere = elsewhere_module:build\n"
    (info / "entry_points.txt").write_text(points)
    with pytest.raises(adapters.Missing, match="elsewhere is no adapter: None is no module"):
        adapters.load("elsewhere")


def test_frameworks_are_pinned_exactly() -> None:
    requirements = metadata.requires("snn-harness") or []
    for framework in ("snntorch", "spikingjelly", "norse"):
        assert any(re.match(rf"{framework}==\d", each) for each in requirements)
    assert adapters.version("norse") == metadata.version("norse")
    assert adapters.version("reference") is None


FOREIGN = [
    ("adapters/__init__.py", "raise SystemExit('it ran')"),
    ("adapters/__init__.py", "no Python at all"),
    ("adapters.py", "def load(name): ..."),
]


@pytest.mark.parametrize(("place", "text"), FOREIGN)
def test_another_package_of_that_name_is_said_in_one_sentence(
    place: str, text: str, tmp_path: Path
) -> None:
    site, work = tmp_path / "site", tmp_path / "work"
    work.mkdir()
    foreign = site / place
    foreign.parent.mkdir(parents=True)
    foreign.write_text(text)
    path = os.pathsep.join([str(site), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", "from harness.cli import main; main()", "list", "frameworks"],
        env={**os.environ, "PYTHONPATH": path},
        cwd=work,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"harness: `import adapters` finds {foreign}, which is not of")
    assert done.stderr.count("\n") == 1
