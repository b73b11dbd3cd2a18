"""The contract, held by every adapter that loads here."""

from __future__ import annotations

import pytest
import torch
from conftest import random_batch, small

import adapters
from harness.adapter import record_spikes
from harness.proof.exam import Exam
from harness.reference.initialise import copy_parameters, initialised
from harness.spec import Precision, Reading

ADAPTERS = adapters.available()
CASES = [
    (dataset, scale, neunorm)
    for dataset in ("cifar10", "nmnist", "dvs-cifar10")
    for scale in ("Small", "Middle", "Large")
    for neunorm in (None, "mean", "literal")
    # the event networks of Table 1 are the same three: the second data set covers its input size
    if dataset != "dvs-cifar10" or scale == "Middle"
]
_exams: dict[tuple[str, str, Reading | None, Precision], Exam] = {}


def exam(dataset: str, scale: str, neunorm: Reading | None, precision: Precision) -> Exam:
    key = (dataset, scale, neunorm, precision)
    if key not in _exams:  # the reference's answers serve all adapters
        network = small(dataset, scale, neunorm)
        batch = random_batch(network, 4, 8, static=dataset == "cifar10")
        _exams[key] = Exam(network, batch, precision)
    return _exams[key]


@pytest.mark.parametrize("precision", ["fp64", "fp32"])
@pytest.mark.parametrize(("dataset", "scale", "neunorm"), CASES)
@pytest.mark.parametrize("name", ADAPTERS)
def test_certified(
    name: str, dataset: str, scale: str, neunorm: Reading | None, precision: Precision
) -> None:
    certificate = exam(dataset, scale, neunorm, precision).certify(name, adapters.load(name))
    assert certificate.passed, certificate.failures


VARIANTS = [
    (f"{name}:{variant.name}", bool(variant.deviations))
    for name in ADAPTERS
    for variant in adapters.variants_of(name).values()
]
MARKED = [name for name, marked in VARIANTS if marked]


@pytest.mark.parametrize("name", [name for name, marked in VARIANTS if not marked])
def test_variants_that_are_not_marked_pass(name: str) -> None:
    for precision in ("fp64", "fp32"):
        found = exam("cifar10", "Small", "mean", precision).certify(name, adapters.load(name))
        assert found.passed, found.failures


@pytest.mark.parametrize("name", MARKED)
def test_marked_variants_fail_with_the_figure(name: str) -> None:
    adapter = adapters.load(name)
    certificate = exam("cifar10", "Small", None, "fp64").certify(name, adapter)
    assert adapter.DEVIATIONS and not certificate.passed
    assert certificate.gradient_error > 0.1
    assert any("gradients differ by" in failure for failure in certificate.failures)


@pytest.mark.parametrize("name", ADAPTERS)
@pytest.mark.parametrize(("T", "B"), [(1, 1), (3, 2), (7, 1)])
def test_any_T_and_B_after_each_other_on_one_module(name: str, T: int, B: int) -> None:
    network = small("nmnist", "Small", "mean")
    x = random_batch(network, T, B, static=False).double()
    reference = initialised(network, x, seed=0)
    module = adapters.load(name).build(network).double()
    copy_parameters(reference, module)
    module(random_batch(network, 5, 3, static=False).double())  # another size before
    out = module(x)
    assert out.shape == (T, B, 100)
    assert torch.equal(out, reference(x))


@pytest.mark.parametrize("name", ADAPTERS)
def test_one_tap_a_layer_and_none_left_recording(name: str) -> None:
    network = small("cifar10", "Middle")
    module = adapters.load(name).build(network)
    x = random_batch(network, 2, 2, static=True)
    with record_spikes(module) as taps:
        module(x)
        shapes = [tuple(tap.collected().shape) for tap in taps]
    assert shapes == [(2, 2, *stage.output_shape) for stage in network.stages]
    assert not any(tap.recording for tap in taps)


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_built_module_is_let_go(name: str) -> None:
    import gc
    import weakref

    module = adapters.load(name).build(small("cifar10"))
    held = weakref.ref(module)
    del module
    gc.collect()
    assert held() is None
