"""`harness check`: certificates of adapters on Table 1's networks, with and without NeuNorm."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from typing import get_args

from torch import Tensor

import adapters
from adapters import facts
from adapters.facts import described
from harness import datasets
from harness.adapter import Unsupported
from harness.proof.certificate import Certificate, required
from harness.proof.exam import Exam
from harness.spec import CUSTOM, Options, ProgressCallback, Reading, UsageError, contender, paper
from harness.system.child import SILENCE, Child, Died, tell

PRECISIONS = required("fp32")
READINGS: tuple[Reading | None, ...] = (None, *get_args(Reading))
BATCH_SIZE, STEPS = 8, 10
WIDTH = Fraction(1, 8)  # of Table 1's networks, unless the selection has another


@dataclass(frozen=True)
class OnNetwork:
    """A certificate, and the name of its network."""

    title: str  # of the network, without NeuNorm
    named: str  # in full: "CIFAR-10 Small NeuNorm mean"
    certificate: Certificate


@dataclass(frozen=True)
class Examined:
    """One adapter's certificates."""

    name: str
    deviations: tuple[str, ...]
    proofs: tuple[OnNetwork, ...]
    reason: str = ""  # why there are none: not installed, unsupported, or what it died of
    broke: bool = False  # it raised, died or hung where it was examined

    @property
    def failed(self) -> bool:
        """Whether the adapter claims to be equal and is not."""
        wrong = self.broke or any(not proof.certificate.passed for proof in self.proofs)
        return wrong and not self.deviations


def networks(options: Options) -> list[tuple[str, str, Reading | None]]:
    """Return data sets, names of networks and readings of NeuNorm.

    All of Table 1 unless the options name some, in both readings and without; a network out of a
    file as it is there.
    """
    own = {file.name: (None,) for file in options.files}
    named = product(options.datasets or paper.SETTINGS, options.networks or paper.SCALES)
    return [(*each, reading) for each in named for reading in own.get(each[1], READINGS)]


def examined(
    names: tuple[str, ...], options: Options, say: ProgressCallback, silence: float = SILENCE
) -> Iterator[Examined]:
    """Yield the certificates of each adapter, made in a child of its own.

    Without names: of each framework and its variants, faithful ones first. Raises UsageError for
    unknown names.
    """
    for name in names:
        adapters.check_name(name)
    for dataset, network, reading in networks(options):
        options.network(network, dataset, neunorm=reading, width=options.width or WIDTH)
    here = [] if names else adapters.available()
    variants = [contender(name, variant) for name in here for variant in adapters.variants_of(name)]
    absent = [] if names else [name for name in adapters.names() if name not in here]
    for name in (*names, *here, *variants, *absent):
        framework, _, variant = name.partition(":")
        known = facts.of(framework)
        if known.missing:
            yield Examined(name, (), (), known.missing)
            continue
        try:
            with Child(short_spin=True) as child:
                yield child.call(certify, name, options, known, silence=silence, hear=say)
        except UsageError:
            raise
        except Exception as error:  # noqa: BLE001 whatever it died of costs its own line
            deviations = known.deviations_of(variant)
            reason = str(error) if isinstance(error, Died) else described(error)
            yield Examined(name, deviations, (), reason, broke=True)


def certify(name: str, options: Options, known: facts.Facts) -> Examined:
    """Examine one adapter, in a child process. Raises UsageError for an unknown network."""
    facts.remember(known)
    try:
        adapter = adapters.load(name)
    except adapters.Missing as reason:
        return Examined(name, (), (), str(reason))
    proofs, count = [], len(networks(options)) * len(PRECISIONS)
    for n, (title, named, exam) in enumerate(_exams(options)):
        tell(n / count, title)
        try:
            proofs.append(OnNetwork(title, named, exam.certify(name, adapter)))
        except Unsupported as reason:
            return Examined(name, (), (), str(reason))
        except UsageError as error:  # the adapter's own: it ends nothing but itself
            return Examined(name, adapter.DEVIATIONS, (), described(error), broke=True)
    return Examined(name, adapter.DEVIATIONS, tuple(proofs))


def _exams(options: Options) -> Iterator[tuple[str, str, Exam]]:
    root = datasets.data_root(options.data_root)
    width = options.width or WIDTH
    batches: dict[str, Tensor] = {}
    for dataset, name, reading in networks(options):
        if dataset not in batches:
            batches[dataset] = datasets.load_batch(dataset, STEPS, BATCH_SIZE, root=root).inputs
        found = options.network(name, dataset, neunorm=reading, width=width)
        has = found.network.neunorm
        shown = str(found.network) if found.scale == CUSTOM else found.scale
        title = f"{paper.settings(dataset).title} {shown}"
        for precision in PRECISIONS:
            named = f"{title} NeuNorm {has.reading}" if has else title
            yield title, named, Exam(found.network, batches[dataset], precision)
