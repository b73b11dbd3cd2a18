"""The adapter contract as checks, for any test runner: ours, or that of a package with an adapter.

```python
import pytest

from harness import conformance


@pytest.mark.parametrize("check", conformance.checks("example"), ids=str)
def test_example_keeps_the_contract(check: conformance.Check) -> None:
    check()
```
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

import torch
from torch import Tensor

import adapters
from adapters import facts
from harness.adapter import Unsupported
from harness.proof import check
from harness.proof.answer import Question
from harness.proof.audit import Audit
from harness.proof.check import PRECISIONS, WIDTH
from harness.proof.exam import Exam
from harness.reference.initialise import initialised
from harness.spec import Contender, Network, Options, Precision, Reading, UsageError, paper

SIZES = ((1, 1, 0.0), (3, 2, 0.0), (7, 1, 0.0), (5, 2, 0.5))  # T, B and dropout
WRONG = 0.1  # of the largest entry: the gradient of another function differs by at least as much


class Broken(AssertionError):
    """An adapter does not keep the contract; the message says where."""


@dataclass(frozen=True)
class Check:
    """One check of an adapter: if it fails, its call raises Broken, or the adapter's own error."""

    name: str
    run: Callable[[], None]

    def __call__(self) -> None:
        self.run()

    def __str__(self) -> str:
        return self.name


def checks(framework: str, networks: Sequence[str] = paper.SCALES) -> list[Check]:
    """Return the checks of an adapter and its variants, with exams on these networks of Table 1.

    A variant without deviations must pass the exam, one with deviations must clearly fail it, and
    each must declare whose code its neuron is. Raises UsageError for an unknown name, Missing if
    the framework is not installed.
    """
    if unknown := [name for name in networks if name not in paper.SCALES]:
        raise UsageError(f"unknown network {unknown[0]!r}, choose from {', '.join(paper.SCALES)}")
    adapters.load(framework)
    return [Check(f"{framework} {name}", run) for name, run in _checks(framework, networks)]


def _checks(framework: str, networks: Sequence[str]) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield the title and the function of each check of an adapter and its variants."""
    for title, exam in exams():
        if any(f" {network} " in f"{title} " for network in networks):
            yield title, partial(_is_certified, framework, exam)
    yield "says whose code is timed", partial(_declares, framework)
    for variant, deviations in adapters.variants_of(framework).items():
        name = replace(Contender.parse(framework), variant=variant).name
        if deviations:
            yield f"{variant} is marked and differs", partial(_differs, name)
            continue
        for precision in PRECISIONS:
            exam = _exam(small("cifar10", neunorm="mean"), precision)
            yield f"{variant} is equal in {precision}", partial(_is_certified, name, exam)
    for T, B, dropout in SIZES:
        drops = f" dropout={dropout}" if dropout else ""
        yield f"T={T} B={B}{drops}", partial(_takes, framework, T, B, dropout)
    yield "is let go", partial(_is_let_go, framework)


def small(dataset: str, scale: str = "Small", neunorm: Reading | None = None) -> Network:
    """Return Table 1's network of a data set and scale, at an eighth of its width."""
    return paper.network(scale, dataset, neunorm=neunorm, width=WIDTH)[1]


def random_batch(network: Network, T: int, B: int, *, static: bool, seed: int = 0) -> Tensor:
    """Return inputs (T, B, C, H, W) like a data set's: normalised pixels, or sparse counts."""
    generator = torch.Generator().manual_seed(seed)
    if static:
        image = torch.randn(B, *network.input_shape, generator=generator)
        return image.expand(T, *image.shape)
    rates = torch.full((T, B, *network.input_shape), 0.1)
    return torch.poisson(rates, generator=generator)


@cache  # the reference's answers serve all adapters
def exams() -> tuple[tuple[str, Exam], ...]:
    """Return name and exam, "CIFAR-10 Small fp64", of all in `harness check`, on random batches."""

    def batch_of(dataset: str) -> Tensor:
        return random_batch(small(dataset), 4, 8, static=paper.settings(dataset).static)

    every = check.exams(Options(), batch_of)
    return tuple((f"{named} {exam.precision}", exam) for _, named, exam in every)


def _exam(network: Network, precision: Precision) -> Exam:
    """Return the one of `exams` on this network in this precision."""
    key = network, precision
    return next(exam for _, exam in exams() if (exam.network, exam.precision) == key)


def _is_certified(name: str, exam: Exam) -> None:
    """Raise Broken unless the adapter passes the exam."""
    certificate = exam.certify(adapters.load(name))
    if not certificate.passed:
        raise Broken("; ".join(certificate.failures) or "it is marked as another function")


def _differs(name: str) -> None:
    """Raise Broken if a variant that is marked as another has the reference's gradients."""
    certificate = _exam(small("cifar10"), "fp64").certify(adapters.load(name))
    # one whose answer is refused has no layers to compare
    if certificate.layers and not certificate.gradient_error > WRONG:
        raise Broken("it is marked as another function, and its gradients hardly differ")


def _declares(framework: str) -> None:
    if reasons := facts.look_up(framework).undeclared:
        raise Broken("; ".join(reasons))


def _takes(name: str, T: int, B: int, dropout: float) -> None:
    """Prove spikes and gradients over T steps of B samples, after a batch of another size."""
    network = replace(small("nmnist", "Small", "mean"), dropout=dropout)
    x = random_batch(network, T, B, static=False).double()
    weights = tuple(p.detach() for p in initialised(network, x, seed=0).parameters())
    try:
        module = adapters.load(name).build(network).double()
    except Unsupported:
        if not dropout:  # which no runtime of its own has
            raise
        return
    module(random_batch(network, 5, 3, static=False).double())
    finding = Audit(Question(weights, x, T, "fp64", network)).judge(module)
    if not finding.passed:
        raise Broken(f"after a batch of another size: {finding.reason}")


def _is_let_go(name: str) -> None:
    """Raise Broken where a built module is still held after its last use."""
    module = adapters.load(name).build(small("cifar10"))
    held = weakref.ref(module)
    del module
    gc.collect()
    if held() is not None:
        raise Broken("something holds its module when nobody uses it any more")
