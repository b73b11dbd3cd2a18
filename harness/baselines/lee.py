"""Spiking neurons trained through the decaying traces of their spikes (Lee et al. 2016).

A neuron's potential decays by exp(-dt / tau) and gathers weighted spikes. Where it reaches V_th it
fires and loses V_th, and every other neuron j of the layer loses |kappa| V_th,j; none falls below
-V_th. For a time T_ref after a spike inputs count by (age / T_ref)^2. With x_k the decaying trace
of an input's spikes and a_i that of a neuron's own, what is left at any time is

    V_i = sum_k w_ik x_k - V_th,i a_i + sigma V_th,i sum_j kappa a_j

where sigma < 1 allows for inhibition that the bound cuts. V itself is neglected:

    a_i = s_i / V_th,i + sigma sum_j kappa a_j,  s_i = sum_k w_ik x_k

and so da/dw = x / V_th, da/dV_th = (-a + sigma sum kappa a) / V_th, and da/dx is w / V_th times the
inverse of 1 - sigma kappa between neurons. Hidden neurons that did not fire pass no error; errors
are divided by the root mean square of g = 1 / V_th and multiplied by sqrt(M / m), m of M neurons
having fired. Weights are kept small by lambda / 2 exp(beta (sum_k w^2 - 1)); thresholds rise where
a neuron fired and fall where it did not.

2312-800-10 on uncentred recordings is in HM2-BP's table; equations and constants are from memory of
the paper (doi 10.3389/fnins.2016.00508). Within a frame a neuron fires once at most, and neurons
that fire together inhibit each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import exp, inf, sqrt
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.baselines import learn
from harness.baselines.contract import Answers, Recordings, silent
from harness.datasets.events import BIN_US

# Of the steps: counts are divided by no less, or one spike alone would be an answer.
LEAST_COUNT = 0.25
LOWEST_THRESHOLD = 0.1  # of a first threshold: none falls below


@dataclass(frozen=True, kw_only=True)
class LeeSizes(learn.HiddenSizes):
    """Parameters of network and training; those of the paper unless marked as ours."""

    hidden: int = 800
    tau_us: float = 200_000.0  # for N-MNIST, as the next
    rest_us: float = 10_000.0  # T_ref
    alpha: float = 5.0  # factor of initial thresholds; theirs are 3 to 10
    sigma: float = 0.5
    inhibition: float = 2.0  # ours: -kappa times the neurons of a layer
    strength: float = 0.002  # lambda; theirs are 0.002 to 0.04
    beta: float = 10.0
    rho: float = 1e-4  # of the change of thresholds, in initial thresholds; ours
    batch_size: int = 20  # ours


@dataclass(frozen=True)
class LayerConstants:
    """Constants that the neurons of a layer share."""

    decay: float  # of potentials and traces, from one bin to the next
    kappa: float  # what a spike adds to each other neuron, in thresholds of that one: 0 or less
    sigma: float  # the share of inhibition that is expected to work
    refractory: float  # bins after a spike until inputs count in full
    silent_pass_errors: bool  # whether neurons that did not fire pass errors too


def trace(spikes: Tensor, decay: float) -> Tensor:  # (T, B, N) -> (B, N)
    """Return each neuron's trace after the last step: the decayed sum of its spikes."""
    ages = torch.arange(len(spikes) - 1, -1, -1, dtype=spikes.dtype)
    return torch.einsum("t,tbn->bn", torch.pow(decay, ages), spikes)


def simulate(currents: Tensor, v_th: Tensor, constants: LayerConstants) -> tuple[Tensor, Tensor]:
    """Simulate a layer on currents (T, B, N): its spikes (T, B, N) and last potentials (B, N)."""
    v = torch.zeros_like(currents[0])
    since = torch.full_like(v, inf)  # bins since a neuron's last spike
    spikes = []
    for current in currents:
        v = constants.decay * v + (since / constants.refractory).square().clamp(max=1) * current
        o = (v >= v_th).to(v.dtype)
        v = (v - v_th * o + constants.kappa * v_th * _sum_of_others(o)).maximum(-v_th)
        since = torch.where(o > 0, 1.0, since + 1)
        spikes.append(o)
    return torch.stack(spikes), v


def error_factor(spikes: Tensor, v_th: Tensor, constants: LayerConstants) -> Tensor:
    """Compute the factor of each neuron's error: (T, B, N), (N,) -> (B, N).

    It is sqrt(M / m) / rms(1 / V_th), m of M neurons passing errors; 0 for the other neurons.
    """
    passing = (spikes.sum(0) > 0) | constants.silent_pass_errors
    m = passing.sum(1, keepdim=True).clamp(min=1).to(v_th.dtype)
    return passing * ((len(v_th) / m).sqrt() / v_th.reciprocal().square().mean().sqrt())


class TraceLayer(torch.autograd.Function):
    """Traces and spikes of a layer from those of its inputs, with the traces' gradients.

    (B, M), (T, B, M), w (N, M), v_th (N,), constants -> (B, N), (T, B, N).
    """

    @staticmethod
    def forward(
        x: Tensor, spikes: Tensor, w: Tensor, v_th: Tensor, constants: LayerConstants
    ) -> tuple[Tensor, Tensor]:
        fired, _ = simulate(spikes @ w.T, v_th, constants)
        return trace(fired, constants.decay), fired

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        x, _, w, v_th, ctx.constants = inputs
        a, fired = output
        ctx.mark_non_differentiable(fired)
        ctx.save_for_backward(x, w, v_th, a, error_factor(fired, v_th, ctx.constants))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, None, Tensor, Tensor, None]:
        x, w, v_th, a, factor = ctx.saved_tensors
        c = ctx.constants.sigma * ctx.constants.kappa
        error = gradients[0] * factor
        back = None
        if ctx.needs_input_grad[0]:  # the traces of events need none
            # times the inverse of the matrix of 1 on the diagonal and -c elsewhere
            whole = 1 + c - error.shape[1] * c
            inverse = (error + c / whole * error.sum(1, keepdim=True)) / (1 + c)
            back = (inverse / v_th) @ w
        to_v_th = (error * (c * _sum_of_others(a) - a)).sum(0) / v_th
        return back, None, (error / v_th).T @ x, to_v_th, None


def _sum_of_others(values: Tensor) -> Tensor:  # (B, N) -> (B, N)
    return values.sum(1, keepdim=True) - values


class LeeNetwork(nn.Module):
    """Fully connected layers with lateral inhibition and learned thresholds."""

    def __init__(self, layers: tuple[int, ...], sizes: LeeSizes) -> None:
        super().__init__()
        self.weights, self.thresholds = nn.ParameterList(), nn.ParameterList()
        self.constants: list[LayerConstants] = []
        self.first: list[float] = []  # thresholds, alpha sqrt(3 / M)
        for m, n in pairwise(layers):
            limit = sqrt(3 / m)
            self.first.append(sizes.alpha * limit)
            self.weights.append(nn.Parameter(torch.empty(n, m).uniform_(-limit, limit)))
            self.thresholds.append(nn.Parameter(torch.full((n,), self.first[-1])))
            decay, refractory = exp(-BIN_US / sizes.tau_us), sizes.rest_us / BIN_US
            last = len(self.first) == len(layers) - 1  # or no silent class would ever fire
            kappa = -sizes.inhibition / n
            self.constants.append(LayerConstants(decay, kappa, sizes.sigma, refractory, last))
        self.fired = torch.zeros(layers[1])  # in what share of the last batch each hidden one fired

    def forward(self, frames: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Compute the last layer's traces (B, N), and the spikes of each layer (T, B, N)."""
        spikes = frames.flatten(2).transpose(0, 1)
        x, layers = trace(spikes, self.constants[0].decay), []
        for of_layer in zip(self.weights, self.thresholds, self.constants, strict=True):
            x, spikes = TraceLayer.apply(x, spikes, *of_layer)
            layers.append(spikes)
        self.fired = (layers[0].sum(0) > 0).to(x.dtype).mean(0)
        return x, layers

    def penalty(self, strength: float, beta: float) -> Tensor:
        """Return the weight penalty: lambda / 2 exp(beta (sum_k w^2 - 1)), summed over neurons."""
        sums = torch.cat([w.square().sum(1) for w in self.weights])
        return strength / 2 * (beta * (sums - 1)).exp().sum()

    @torch.no_grad()
    def adapt_thresholds(self, rho: float) -> None:
        """Change hidden threshold i by rho (N f_i - sum f) initial thresholds; f: `self.fired`."""
        v_th, fired = self.thresholds[0], self.fired
        v_th.add_(rho * self.first[0] * (len(fired) * fired - fired.sum()))
        for v_th, first in zip(self.thresholds, self.first, strict=True):
            v_th.clamp_(min=LOWEST_THRESHOLD * first)


def error(a: Tensor, spikes: Tensor, labels: Tensor) -> Tensor:  # (B, K), (T, B, K), (B,) -> ()
    """Compute half the squared error of counts / largest count to one-hot labels, batch mean.

    Its gradient goes to the traces `a` in place of the counts.
    """
    counts = spikes.sum(0)
    most = counts.amax(1, keepdim=True).clamp(min=LEAST_COUNT * len(spikes))
    o = counts / most + (a - a.detach())
    targets = F.one_hot(labels, a.shape[1]).to(a.dtype)
    return (o - targets).square().sum(1).mean() / 2


class Lee(learn.FrameLearner[LeeSizes]):
    """Backpropagation through traces of spikes (Lee et al. 2016)."""

    TITLE, PAPER = "Spiking backpropagation", "Lee et al. 2016"
    FIDELITY = "after the description"
    DEVIATIONS = (
        "no public code",
        "frames of 5 ms instead of events",
        "end-of-window gradient",
        "only a neuron's own spikes make it refractory",
        "strength of inhibition, error, batches, epochs and learning rate are ours",
        "by default 200 hidden units, not 800",
    )
    EPOCHS = {"quick": 6, "default": 12, "paper": 150}
    SIZES = {"quick": LeeSizes(hidden=100), "default": LeeSizes(hidden=200), "paper": LeeSizes()}

    def build_network(self, train: Recordings) -> LeeNetwork:
        return LeeNetwork(self.layer_sizes(train, self.sizes.hidden), self.sizes)

    def loss(self, out: tuple[Tensor, list[Tensor]], labels: Tensor) -> Tensor:
        """Return the error of the output's traces, and the penalty on the weights."""
        a, layers = out
        penalty = self.network.penalty(self.sizes.strength, self.sizes.beta)
        return error(a, layers[-1], labels) + penalty

    def optimiser(self) -> torch.optim.Optimizer:
        """Return the optimiser, after each of whose steps the thresholds are adapted."""
        optimiser = super().optimiser()
        optimiser.register_step_post_hook(lambda *_: self.network.adapt_thresholds(self.sizes.rho))
        return optimiser

    def predict(self, test: Recordings) -> Answers:
        arguments = self.inputs(test, silent), len(test)
        return learn.predict_by_spikes(lambda frames: self.network(frames)[1], *arguments)
