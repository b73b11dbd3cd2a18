"""What choices of ours and of frameworks cost: each beside a training without it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from harness.spec import SGD, Loss, Precision, Selection, Trained, contender
from harness.suites.trained import Wish, named
from harness.suites.trained import cases as trained

LONG_SAMPLES = 20_000  # --long: not all images, since so many networks are compared


@dataclass(frozen=True)
class Ablation:
    """One change of a training."""

    name: str  # in words
    change: Callable[[Trained], Trained]


def cases(selection: Selection) -> tuple[Trained, ...]:
    """CIFARNet on CIFAR-10 as it is, and with each of the changes."""
    if selection.long:
        selection = replace(selection, samples=selection.samples or LONG_SAMPLES)
    wishes = [
        Wish(dataset, network, neunorm=selection.neunorm)
        for dataset in selection.datasets or ("cifar10",)
        for network in named(selection, "CIFARNet" if dataset == "cifar10" else "OurModel")
    ]
    whole = trained("ablations", selection, wishes)
    changed = (each.change(case) for case in whole for each in ABLATIONS)
    return tuple(dict.fromkeys(changed))  # one of the two precisions is that of the first


def _as_it_is(case: Trained) -> Trained:
    return case


def _neuron(*, a: float = 1.0, v_th: float = 1.0) -> Callable[[Trained], Trained]:
    """So many times the width of the surrogate, and the threshold."""

    def change(case: Trained) -> Trained:
        lif = case.network.lif
        lif = replace(lif, a=lif.a * a, v_th=lif.v_th * v_th)
        return replace(case, network=replace(case.network, lif=lif))

    return change


def _first_weights(case: Trained) -> Trained:
    return replace(case, initialisation="torch")


def _detached(case: Trained) -> Trained:
    framework = contender(case.framework.partition(":")[0], "detached-reset")
    return replace(case, framework=framework)


def _loss(loss: Loss) -> Callable[[Trained], Trained]:
    return lambda case: replace(case, training=replace(case.training, loss=loss))


def _with_steps_as_long(case: Trained) -> Trained:
    """Cross-entropy of the spikes, at a rate that takes steps of SGD about as long as eq. (11)'s.

    By a class's spikes n of N = T population neurons, eq. (11) has the gradient 2 (n/N - y) / (K N)
    and cross-entropy p - y: the rate is that of eq. (11) times 2 / (K N). Adam divides each
    gradient by its size, and needs no other rate.
    """
    case, network = _loss("cross-entropy")(case), case.network
    if not isinstance(case.optimiser, SGD):
        return case
    shorter = 2 / (network.classes * network.population * case.T)
    return replace(case, optimiser=replace(case.optimiser, lr=case.optimiser.lr * shorter))


def _precision(precision: Precision) -> Callable[[Trained], Trained]:
    return lambda case: replace(case, precision=precision)


AS_IT_IS = "as the others are trained"
ABLATIONS = (
    Ablation(AS_IT_IS, _as_it_is),
    Ablation("float32", _precision("fp32")),
    Ablation("bf16", _precision("bf16")),
    Ablation("surrogate half as wide", _neuron(a=0.5)),
    Ablation("surrogate twice as wide", _neuron(a=2.0)),
    Ablation("threshold halved", _neuron(v_th=0.5)),
    Ablation("threshold doubled", _neuron(v_th=2.0)),
    Ablation("PyTorch's initial weights", _first_weights),
    Ablation("no gradient through the reset", _detached),
    Ablation("cross-entropy of the spikes", _loss("cross-entropy")),
    Ablation("cross-entropy of the spikes, steps as long", _with_steps_as_long),
    Ablation("cross-entropy of the votes", _loss("cross-entropy of votes")),
)
