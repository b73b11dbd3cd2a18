"""`harness check`: certificates of adapters on Table 1's networks, with and without NeuNorm."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import get_args

import torch
from torch import Tensor

import adapters
from adapters import facts
from adapters.facts import describe_error
from harness import datasets
from harness.adapter import Unsupported
from harness.machine import clock
from harness.machine.child import SILENCE, Child, Died, tell
from harness.proof.certificate import Certificate, required
from harness.proof.exam import Exam
from harness.spec import (
    REFERENCE,
    Contender,
    NamedNetwork,
    Network,
    Options,
    ProgressCallback,
    Reading,
    UsageError,
    network_name,
    paper,
)

PRECISIONS = required("fp32")
READINGS: tuple[Reading | None, ...] = (None, *get_args(Reading))
BATCH_SIZE, STEPS = 8, 10
WIDTH = Fraction(1, 8)  # of Table 1's networks, unless the selection has another
# Of an adapter's process and its imports; of an exam in a runtime of its own, which compiles.
START_SECONDS, FOREIGN_SECONDS = 4.0, 4.0


@dataclass(frozen=True)
class OnNetwork:
    """A certificate, and the name of its network."""

    title: str  # of the network, without NeuNorm
    named: str  # in full: "CIFAR-10 Small NeuNorm mean"
    certificate: Certificate


@dataclass(frozen=True)
class AdapterProof:
    """One adapter's certificates."""

    name: str
    deviations: tuple[str, ...]
    proofs: tuple[OnNetwork, ...]
    reason: str = ""  # why there are none, or fewer: not installed, unsupported, what it died of
    broke: bool = False  # it raised, died or hung in an exam

    @property
    def failed(self) -> bool:
        """Whether the adapter claims to be equal and is not."""
        wrong = self.broke or any(not proof.certificate.passed for proof in self.proofs)
        return wrong and not self.deviations


def networks(options: Options) -> list[tuple[str, NamedNetwork]]:
    """Return the selected data sets with their networks. Raises UsageError for unknown ones.

    Each comes without NeuNorm and in both its readings, by default all of Table 1; a network from
    a file comes once, as it is.
    """
    files = {file.name for file in options.files}
    return [
        (dataset, options.network(name, dataset, neunorm=reading, width=WIDTH))
        for dataset in options.datasets or paper.SETTINGS
        for name in options.networks or paper.SCALES
        for reading in ((None,) if name in files else READINGS)
    ]


def exams(options: Options, batch_of: Callable[[str], Tensor]) -> Iterator[tuple[str, str, Exam]]:
    """Yield title (without NeuNorm), full name and exam of each of `networks` in each precision."""
    batch_of = cache(batch_of)
    for dataset, named in networks(options):
        title, network = f"{paper.settings(dataset).title} {network_name(named)}", named.network
        name = f"{title} NeuNorm {network.neunorm.reading}" if network.neunorm else title
        for precision in PRECISIONS:
            yield title, name, Exam(network, batch_of(dataset), precision)


def _checked(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names, by default all there are. Raises UsageError for unknown ones."""
    for name in names:
        adapters.check_name(name)
    if names:
        return names
    available = adapters.available()
    variants = (
        Contender(name, variant=variant).name
        for name in available
        for variant in adapters.variants_of(name)
    )
    return tuple(dict.fromkeys([*available, *variants, *adapters.names()]))


@dataclass(frozen=True)
class Estimate:
    """What `prove_adapters` has to do: adapters that load, exams of all, and about how long."""

    adapters: int
    exams: int
    seconds: float


def estimate(names: tuple[str, ...], options: Options) -> Estimate:
    """Return how many exams these adapters take, and about how long, within a factor of two.

    The reference takes one here, on random input; others take as long, in proportion to neurons,
    and their framework's import and compilers besides. Raises UsageError for unknown names.
    """
    packages = (facts.look_up(Contender.parse(name).package) for name in _checked(names))
    present = [package for package in packages if not package.missing]
    examined = [named.network for _, named in networks(options)]
    if not present or not examined:
        return Estimate(len(present), 0, 0.0)
    smallest = min(examined, key=_neurons)
    x = torch.rand(STEPS, BATCH_SIZE, *smallest.input_shape)
    exam = Exam(smallest, x, PRECISIONS[0])
    exam_seconds = clock.seconds(lambda: exam.certify(adapters.load(REFERENCE)), clock.CPU)
    exams_seconds = (
        len(PRECISIONS) * exam_seconds * sum(map(_neurons, examined)) / _neurons(smallest)
    )
    count = len(PRECISIONS) * len(examined)  # of one adapter
    compiling = FOREIGN_SECONDS * count * sum(package.foreign for package in present)
    seconds = (START_SECONDS + exams_seconds) * len(present) + compiling
    return Estimate(len(present), count * len(present), seconds)


def _neurons(network: Network) -> int:
    return sum(stage.neurons for stage in network.stages)


def prove_adapters(
    names: tuple[str, ...], options: Options, say: ProgressCallback
) -> Iterator[AdapterProof]:
    """Yield the certificates of each adapter, made in a child process of its own.

    By default: the installed frameworks, their variants, then what is not installed. Raises
    UsageError for unknown names.
    """
    networks(options)
    for name in _checked(names):
        contender = Contender.parse(name)
        package = facts.look_up(contender.package)
        if package.missing:
            yield AdapterProof(name, (), (), package.missing)
            continue
        try:
            with Child(short_spin=True) as child:
                yield child.call(prove_adapter, name, options, package, silence=SILENCE, hear=say)
        except UsageError:
            raise
        except Exception as error:  # noqa: BLE001 whatever it died of costs its own line
            deviations = package.deviations_of(contender.suffix or "")
            reason = str(error) if isinstance(error, Died) else describe_error(error)
            yield AdapterProof(name, deviations, (), reason, broke=True)


def prove_adapter(name: str, options: Options, package: facts.Facts) -> AdapterProof:
    """Return the certificates of an adapter; called in a child process, which it reports from."""
    facts.remember(package)
    adapter = adapters.load(name)
    root, proofs = datasets.data_root(options.data_root), list[OnNetwork]()
    unsupported, count = dict[str, str](), len(networks(options)) * len(PRECISIONS)

    def batch_of(dataset: str) -> Tensor:
        return datasets.load_batch(dataset, STEPS, BATCH_SIZE, root=root).inputs

    for n, (title, network, exam) in enumerate(exams(options, batch_of)):
        tell(n / count, title)
        try:
            proofs.append(OnNetwork(title, network, exam.certify(adapter)))
        except Unsupported as error:  # of this network alone
            unsupported[network] = str(error)
        except UsageError as error:  # the adapter's own: it ends nothing but itself
            return AdapterProof(name, adapter.DEVIATIONS, (), describe_error(error), broke=True)
    reason = next(iter(unsupported.values()), "")
    if reason and proofs:
        reason = f"unsupported: {', '.join(unsupported)} ({reason})"
    return AdapterProof(name, adapter.DEVIATIONS, tuple(proofs), reason)
