"""A version of code changes with what the code does, and with nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

import adapters
from harness.records import versions
from harness.records.versions import TIMING, TRAINING, code_version, imported

# Modules that `learning` imports and that cannot change a weight: what they decide is in the key.
TOLD_BY_THE_KEY = {
    "adapters",  # the adapter's own module counts
    "harness.proof.certificate",  # proves, and trains nothing
    "harness.training.checkpoint",  # restores the same numbers, or refuses
    "harness.system.files",
    "harness.spec.paper",  # a network and its settings are in the key
    "harness.system.processes",
    "harness.system.clock",
    "harness.adapter",
    "harness",
}


def test_whatever_a_training_imports_is_decisive_or_told_by_the_key() -> None:
    # of data sets, the hash of what they give is in the key
    counted = {name for given in TRAINING for name in versions._with_submodules(given)}
    rest = {name for name in imported("harness.training.epoch") if ".datasets" not in name}
    assert rest - counted == TOLD_BY_THE_KEY & rest


def test_every_module_named_is_there() -> None:
    for name in (*TRAINING, *TIMING):
        assert versions._source(name).exists()


@pytest.mark.parametrize("framework", adapters.names())
def test_each_adapter_has_a_version_of_its_own(framework: str) -> None:
    module = adapters.module_name(framework)
    assert module is not None
    own = code_version(TIMING, module)
    assert len(own) == 12
    others = {code_version(TIMING, adapters.module_name(n)) for n in adapters.names()}
    assert len(others) == len(adapters.names())


def test_kernels_that_are_chosen_by_the_device_count() -> None:
    parts = {
        each for name in imported("adapters.fused") for each in versions._with_submodules(name)
    }
    assert {"harness.fused.cpu", "harness.fused.cuda"} <= parts


BEFORE = '''
"""A module."""
def f(x):
    """Says so."""
    return x + 1  # because
'''


@pytest.mark.parametrize(
    ("after", "same"),
    [
        (BEFORE.replace("because", "for another reason"), True),
        (BEFORE.replace("A module.", "Another text."), True),
        (BEFORE.replace("    return x + 1", "    return (x +\n            1)"), True),
        (BEFORE.replace("x + 1", "x + 2"), False),
    ],
)
def test_only_what_is_computed_counts(after: str, same: bool, tmp_path: Path) -> None:
    one, other = tmp_path / "one.py", tmp_path / "other.py"
    one.write_text(BEFORE)
    other.write_text(after)
    assert (versions._said(one) == versions._said(other)) == same


def test_a_module_that_is_not_there_has_no_version() -> None:
    with pytest.raises(ModuleNotFoundError):
        code_version(("harness.nowhere",))
