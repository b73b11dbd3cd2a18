"""A leaky neuron that fires at its threshold, is reset to 0, and has a rectangle for a gradient."""

import torch
from torch import nn


class _Fire(torch.autograd.Function):
    @staticmethod
    def forward(ctx, distance, width):
        ctx.save_for_backward(distance)
        ctx.width = width
        return (distance >= 0).to(distance.dtype)

    @staticmethod
    def backward(ctx, back):
        (distance,) = ctx.saved_tensors
        inside = (distance.abs() < ctx.width / 2).to(distance.dtype)
        return back * inside / ctx.width, None


class Neuron(nn.Module):
    """One step of any number of neurons: (current, potential) -> (spikes, potential)."""

    def __init__(self, decay: float, threshold: float, width: float) -> None:
        super().__init__()
        self.decay, self.threshold, self.width = decay, threshold, width

    def forward(
        self, current: torch.Tensor, potential: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Decay, integrate, fire; the potential that is returned is 0 where it fired."""
        potential = self.decay * potential + current
        spikes = _Fire.apply(potential - self.threshold, self.width)
        return spikes, potential * (1 - spikes)
