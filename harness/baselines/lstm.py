"""An LSTM on frames of 5 ms, and the Phased LSTM on single events (Neil et al. 2016).

The plain LSTM is that of He et al. (2020), of the same laboratory as the paper of this project:
2312-512, Adam 5e-4, batches of 50, the squared error, and 15 frames of 5 ms. Here a recording's
frames of OFF and ON counts, all of the window, go through one layer of LSTM units; a linear layer
reads each step, and its mean is fitted to one-hot labels.

The units of a Phased LSTM have a clock each. A time gate of period tau and shift s opens a unit for
a share r_on of its period. With the phase phi = ((t + s) mod tau) / tau its openness is

    k = 2 phi / r_on  where phi < r_on / 2,  2 - 2 phi / r_on  where phi < r_on,  else alpha phi

and the LSTM's proposals c~ and h~ are taken by that share: c = k c~ + (1 - k) c_before, and h in
the same way. alpha = 1e-3 in training, so that a closed unit learns too, and 0 afterwards. An
event's address (x, y, polarity) is looked up in an embedding of 40; its time in ms is t. The state
after the last event is read by a linear layer, fitted by the cross entropy. Equations: section 2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from harness.baselines import learn
from harness.baselines.contract import ProgressCallback, Recordings
from harness.datasets.events import Events, addresses, on_sensor
from harness.reference import coding


class LSTMNetwork(nn.Module):
    """LSTM units, and a linear read-out of their mean over the steps."""

    def __init__(self, inputs: int, units: int, classes: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(inputs, units)
        self.readout = nn.Linear(units, classes)

    def forward(self, frames: Tensor) -> Tensor:  # (B, T, 2, H, W) -> (B, classes)
        hidden, _ = self.lstm(frames.flatten(2).transpose(0, 1))
        return self.readout(hidden.mean(0))  # linear: equals the mean of the read-outs


class LSTM(learn.FrameLearner[learn.HiddenSizes]):
    """An LSTM on frames of 5 ms, the plain variant of Neil et al. 2016."""

    TITLE, PAPER = "LSTM", "Neil et al. 2016"
    FIDELITY = "after the description"
    DEVIATIONS = (
        "no public code",
        "frames of 5 ms instead of events",
        "units, loss and optimiser of He et al. 2020",
        "all frames of the window, not 15",
        "100 epochs are ours",
        "by default 128 units, not 512, batches of 25, not 50, a learning rate of 2e-3, not 5e-4",
    )
    EPOCHS = {"quick": 6, "default": 6, "paper": 100}
    SIZES = {
        "quick": learn.HiddenSizes(hidden=64, lr=3e-3, batch_size=15),
        "default": learn.HiddenSizes(hidden=128, lr=2e-3, batch_size=25),
        "paper": learn.HiddenSizes(hidden=512, lr=5e-4, batch_size=50),
    }

    def build_network(self, train: Recordings) -> LSTMNetwork:
        """Return an LSTM of the recordings' inputs and classes, and note its structure."""
        inputs, units = train.input_neurons, self.sizes.hidden
        self.structure = f"{inputs}-LSTM{units}-{train.classes}"
        return LSTMNetwork(inputs, units, train.classes)

    def loss(self, out: Tensor, labels: Tensor) -> Tensor:
        return coding.loss(out, labels)


# the Phased LSTM

ALPHA = 1e-3  # how much a closed unit leaks in training
FORGET_BIAS = 2.0  # in the authors' code, as the next
SPREAD = 0.1  # deviation of the first weights there
EMBEDDED = 0.01  # and of embeddings: the default of the library used there, from memory


@dataclass(frozen=True, kw_only=True)
class PhasedLSTMSizes(learn.LearnerSizes):
    """Parameters of `PhasedLSTM`."""

    events: int | None = None  # of a recording at most, evenly over it; None: all
    batch_size: int = 32
    embedding: int = 40
    units: int = 110
    r_on: float = 0.05  # the share of its period in which a unit is open
    log_tau: tuple[float, float] = (0.0, 3.0)  # tau = exp(U(a, b)) in ms, at first


# L: events of a recording, B: recordings, N: units


def openness(t: Tensor, tau: Tensor, shift: Tensor, r_on: float, alpha: float) -> Tensor:
    """Compute the time gate k of each unit at the times t (ms): (..., 1) -> (..., N)."""
    since = t + shift
    # The remainder by hand: d/dtau is then -floor(since / tau), which not every `%` gives.
    phi = (since - tau * torch.floor(since / tau).detach()) / tau
    rising = 2 * phi / r_on
    closing = torch.where(phi < r_on, 2 - rising, alpha * phi)
    return torch.where(phi < r_on / 2, rising, closing)


class PhasedLSTMCell(nn.Module):
    """LSTM units with peepholes whose updates are weighted by the openness k."""

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__()
        # rows: input gate, forget gate, cell, output gate, as torch's own LSTM has them
        self.weight_x = nn.Parameter(SPREAD * torch.randn(4 * units, inputs))
        self.weight_h = nn.Parameter(SPREAD * torch.randn(4 * units, units))
        bias = torch.zeros(4, units)
        bias[1] = FORGET_BIAS
        self.bias = nn.Parameter(bias)
        self.peepholes = nn.Parameter(SPREAD * torch.randn(3, units))  # i, f, o

    def project_inputs(self, x: Tensor) -> Tensor:  # (..., inputs) -> (..., 4 N)
        """Compute the inputs' and biases' part of the pre-activations of gates and cell."""
        return x @ self.weight_x.T + self.bias.flatten()

    def forward(self, inputs: Tensor, k: Tensor) -> Tensor:  # (L, B, 4 N), (L, B, N) -> (B, N)
        """Return the hidden state after the last event, from projected inputs and openness."""
        h = c = k.new_zeros(k.shape[1:])
        from_i, from_f, from_o = self.peepholes.unbind()
        weight = self.weight_h.T
        # unbind: a backward pass through inputs[n] would fill all of L with zeros, L times
        for z, k_n in zip(inputs.unbind(), k.unbind(), strict=True):
            i, f, g, o = torch.addmm(z, h, weight).chunk(4, dim=1)
            i, f = torch.sigmoid(i + from_i * c), torch.sigmoid(f + from_f * c)
            c_new = f * c + i * torch.tanh(g)
            h_new = torch.sigmoid(o + from_o * c_new) * torch.tanh(c_new)
            c, h = torch.lerp(c, c_new, k_n), torch.lerp(h, h_new, k_n)
        return h


@dataclass(frozen=True, eq=False)
class PaddedEvents:
    """Events of a batch of recordings, padded to the longest."""

    addresses: Tensor  # int64 (L, B)
    ms: Tensor  # (L, B), from the first event
    present: Tensor  # (L, B): 1, or 0 where there is no event


class PhasedLSTMNetwork(nn.Module):
    """Embedding of addresses, Phased LSTM cell, and linear read-out."""

    def __init__(self, addresses: int, classes: int, sizes: PhasedLSTMSizes) -> None:
        super().__init__()
        self.r_on = sizes.r_on
        self.embedding = nn.Parameter(EMBEDDED * torch.randn(addresses, sizes.embedding))
        self.cell = PhasedLSTMCell(sizes.embedding, sizes.units)
        tau = torch.empty(sizes.units).uniform_(*sizes.log_tau).exp()
        self.tau = nn.Parameter(tau)
        self.shift = nn.Parameter(torch.rand(sizes.units) * tau)
        self.readout = nn.Linear(sizes.units, classes)

    def forward(self, x: PaddedEvents) -> Tensor:  # -> (B, classes)
        """Return the scores (B, classes) of padded events, whose times open and shut the gates."""
        alpha = ALPHA if self.training else 0.0
        # a period may cross zero as it learns: its size counts, as in the authors' code
        k = openness(x.ms[..., None], self.tau.abs(), self.shift, self.r_on, alpha)
        k = k * x.present[..., None]  # where there is no event the gate is shut
        # projected first, looked up then: addresses are fewer than the events of a batch
        inputs = F.embedding(x.addresses, self.cell.project_inputs(self.embedding))
        return self.readout(self.cell(inputs, k))


def subsample(events: Events, limit: int | None, offset: float) -> Events:
    """Pick `limit` events evenly by index (None: all), shifted by `offset` in [0, 1) of a gap."""
    if limit is None or len(events) <= limit:
        return events
    return events[((np.arange(limit) + offset) * len(events) / limit).astype(np.int64)]


def pad_events(
    recordings: Recordings, chosen: Tensor, limit: int | None, offsets: Tensor
) -> PaddedEvents:
    """Batch the recordings `chosen` (B,), each subsampled with its offset (B,)."""
    sensor, pairs = recordings.sensor, zip(chosen.tolist(), offsets.tolist(), strict=True)
    samples = [subsample(on_sensor(recordings[n], sensor), limit, offset) for n, offset in pairs]

    def padded(values_of: Callable[[Events], NDArray[Any]]) -> Tensor:
        return pad_sequence([torch.from_numpy(values_of(events)) for events in samples])

    return PaddedEvents(
        padded(lambda events: addresses(events, sensor)),
        padded(lambda events: (events["t"] / 1000).astype(np.float32)),
        padded(lambda events: np.ones(len(events), np.float32)),
    )


class PhasedLSTM(learn.GradientLearner[Recordings, PhasedLSTMSizes]):
    """The Phased LSTM on single events (Neil et al. 2016)."""

    TITLE, PAPER = "Phased LSTM", "Neil et al. 2016"
    DATASETS, INPUT = ("nmnist",), "events"
    FIDELITY = "published equations"
    DEVIATIONS = (
        "no public code for N-MNIST",
        "torch instead of Theano",
        "batches, epochs and learning rate are ours",
        "by default 256 events of a recording, in quick runs 100, evenly over it, not all",
    )
    EPOCHS = {"quick": 8, "default": 10, "paper": 20}
    SIZES = {
        "quick": PhasedLSTMSizes(events=100, batch_size=15, lr=5e-3),
        "default": PhasedLSTMSizes(events=256, batch_size=30, lr=5e-3),
        "paper": PhasedLSTMSizes(),
    }

    def build_network(self, train: Recordings) -> PhasedLSTMNetwork:
        """Return a phased LSTM of the recordings' addresses, and note its structure."""
        sizes = self.sizes
        self.structure = f"embedding {sizes.embedding}-PLSTM{sizes.units}-{train.classes}"
        return PhasedLSTMNetwork(train.input_neurons, train.classes, sizes)

    def inputs(self, samples: Recordings, tell: ProgressCallback) -> learn.BatchInput:
        """Return what picks samples as padded events, in training others in each epoch."""

        def picked(chosen: Tensor) -> PaddedEvents:  # other events in each epoch of training
            """Return recordings' events, padded: a random part in training, else the middle."""
            offsets = torch.full((len(chosen),), 0.5)
            if self.network.training:
                offsets = torch.rand(len(chosen))
            return pad_events(samples, chosen, self.sizes.events, offsets)

        return picked
