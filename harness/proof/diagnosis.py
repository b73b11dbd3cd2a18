"""Names what a refused contender computes instead, where that is a known deviation.

The reference's network is altered in one way at a time and is asked all that the exam asked. A
deviation is named where every spike is the contender's, every gradient is within the exam's bound,
and the paper's network does not answer the same. If several fit, all are named: this input does not
distinguish them.

The paper's reset clears the potential and so commutes with the decay. "Before" and "after the
decay" differ where the reset subtracts, or where the input comes before the decay as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from harness.proof.answer import Answer
from harness.proof.gradients import compared
from harness.reference.initialise import as_drawn
from harness.reference.network import ReferenceNetwork, StepNetwork
from harness.reference.neuron import fire, potential
from harness.spec import LIF, Network

Build = Callable[[Network], nn.Module]
Ask = Callable[[nn.Module], Iterator[Answer]]
Potential = Callable[[Tensor, Tensor, Tensor, LIF], Tensor]  # last u and o, current -> u
Fire = Callable[[Tensor, float], Tensor]  # u - V_th, a -> o


def computed_instead(
    network: Network, answers: Sequence[Answer], ask: Ask, bound: float, device: torch.device
) -> tuple[str, ...]:
    """Return the known deviations that explain `answers`, in words that follow "computes with".

    `ask` puts the exam's questions to a module, in order. `bound`: of a gradient's error, relative.
    """

    def answers_of(build: Build) -> Iterator[Answer]:
        return ask(as_drawn(build, network).to(device))  # its weights are replaced

    fitting = (
        words
        for words, build in DEVIATIONS
        if _same(answers, answers_of(build), bound)
        and not _same([*answers_of(ReferenceNetwork)], answers_of(build), bound)
    )
    return tuple(dict.fromkeys(fitting))


def _same(answers: Sequence[Answer], others: Iterable[Answer], bound: float) -> bool:
    """Return whether answers have the same spikes, and gradients within the bound."""
    return all(  # nothing more is asked after one that is not
        torch.equal(one.out, other.out)
        and all(map(torch.equal, one.spikes, other.spikes))
        and not any(
            compared(*pair).error > bound
            for pair in zip(one.gradients, other.gradients, strict=True)
        )
        for one, other in zip(answers, others, strict=True)
    )


class AlteredCell(nn.Module):
    """The paper's neuron with another equation for its potential, its spike or both."""

    def __init__(self, lif: LIF, potential: Potential, fire: Fire) -> None:
        super().__init__()
        self.lif, self.potential, self.fire = lif, potential, fire

    def forward(
        self, current: Tensor, state: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return the spikes and the state (u, o) after a step, by the altered equation."""
        u, o = state or (torch.zeros_like(current), torch.zeros_like(current))
        u = self.potential(u, o, current, self.lif)
        o = self.fire(u - self.lif.v_th, self.lif.a)
        return o, (u, o)


def _cleared(u: Tensor, o: Tensor, current: Tensor, lif: LIF) -> Tensor:
    return potential(u, o, current, lif.k_tau)


def _neuron(potential: Potential = _cleared, fire: Fire = fire) -> Build:
    return partial(StepNetwork, cell=partial(AlteredCell, potential=potential, fire=fire))


def _window(width: float, height: float) -> Build:
    """Return the deviation whose surrogate's window is so many times as wide and as high."""

    def altered(distance: Tensor, a: float) -> Tensor:
        o = fire(distance, width * a)  # its height is 1 / (width a)
        return o.detach() + width * height * (o - o.detach())

    return _neuron(fire=altered)


class Carried(nn.Module):
    """A cell or NeuNorm that begins each call with the state that the last call left."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.last = inner, None

    def forward(self, x: Tensor, state: object) -> tuple[Tensor, object]:
        """Run the layer from the state in which the last sequence ended, not from zero."""
        out, new = self.inner(x, self.last if state is None else state)
        is_tensor = isinstance(new, Tensor)
        self.last = new.detach() if is_tensor else tuple(part.detach() for part in new)
        return out, new


def _carries(network: Network, *, neunorm: bool) -> nn.Module:
    """Return the reference with the deviation that neurons keep their state between calls."""
    module = ReferenceNetwork(network)
    for layer in module.layers:
        layer.cell = Carried(layer.cell)
        if neunorm and layer.neunorm is not None:
            layer.neunorm = Carried(layer.neunorm)  # type: ignore[assignment]
    return module


class StepsReversed(ReferenceNetwork):
    """The reference, run on the steps in reverse order."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flip(0))


class LastStepMissing(ReferenceNetwork):
    """The reference without its last step: a `share` of the spikes before it is repeated."""

    def __init__(self, network: Network, share: float) -> None:
        super().__init__(network)
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """Run all steps but the last, and repeat the spikes and votes before it times `share`."""
        out = super().forward(x[:-1])
        for tap in (layer.tap for layer in self.layers):
            if tap.kept:
                tap(tap.kept[-1] * self.share)
        return torch.cat([out, out[-1:] * self.share])


def _detached(potential: Potential) -> Potential:
    return lambda u, o, current, lif: potential(u, o.detach(), current, lif)


def _subtracted(u: Tensor, o: Tensor, current: Tensor, lif: LIF) -> Tensor:
    return lif.k_tau * (u - lif.v_th * o) + current


def _subtracted_late(u: Tensor, o: Tensor, current: Tensor, lif: LIF) -> Tensor:
    return lif.k_tau * u - lif.v_th * o + current


# One a line: in words that follow "computes with", and the network. Two ways of one fault that call
# for the same mend share their words.
DEVIATIONS: tuple[tuple[str, Build], ...] = (
    ("no gradient through the reset", _neuron(_detached(_cleared))),
    ("a reset that subtracts V_th before the decay", _neuron(_subtracted)),
    ("a reset that subtracts V_th after the decay", _neuron(_subtracted_late)),
    (
        "a reset that subtracts V_th before the decay and carries no gradient",
        _neuron(_detached(_subtracted)),
    ),
    (
        "a reset that subtracts V_th after the decay and carries no gradient",
        _neuron(_detached(_subtracted_late)),
    ),
    (
        "the reset and the input before the decay: u = k_tau (u (1 - o) + input)",
        _neuron(lambda u, o, current, lif: lif.k_tau * (u * (1 - o) + current)),
    ),
    (
        "the input times (1 - k_tau)",
        _neuron(lambda u, o, current, lif: _cleared(u, o, (1 - lif.k_tau) * current, lif)),
    ),
    (
        "`>` for `>=`: it fires above V_th only",
        _neuron(fire=lambda distance, a: fire(distance, a) - (distance == 0).to(distance.dtype)),
    ),
    ("a surrogate twice as wide: 1/(2a) where |u - V_th| < a", _window(2, 1 / 2)),
    ("a surrogate twice as wide: 1/a where |u - V_th| < a", _window(2, 1)),
    ("a surrogate half as wide: 2/a where |u - V_th| < a/4", _window(1 / 2, 2)),
    ("a surrogate half as wide: 1/a where |u - V_th| < a/4", _window(1 / 2, 1)),
    ("the state carried over between calls", partial(_carries, neunorm=False)),
    ("the state carried over between calls", partial(_carries, neunorm=True)),
    ("the steps in reverse order", StepsReversed),
    ("the last step missing", partial(LastStepMissing, share=0.0)),
    ("the last step missing", partial(LastStepMissing, share=1.0)),
)
