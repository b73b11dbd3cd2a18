"""A layer's synapses: by events where that is faster, else densely."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from adapters.fused.form import Events, PackedWeights, Dispatch
from adapters.fused.plain import DENSE_CONVOLUTION, DENSE_PRODUCT, Parts

TAPS = 3  # of the side of a convolution that the event kernels have


@dataclass(eq=False)
class Synapse:
    """One layer's convolution or product, and its gradients."""

    product: bool
    kernel: int  # of a convolution's side
    ran: Dispatch | None = field(default=None, init=False)  # None: its input was values
    encoded: bool = field(default=False, init=False)  # the last call's current was an `Encoding`

    @property
    def takes_events(self) -> bool:
        """Whether this layer's input may be counts (`Events`) instead of values."""
        return self.kernel == TAPS

    @property
    def in_words(self) -> str:
        """What the last call computed by events, and the density of its input, in words."""
        if self.ran is None:
            return "by events, with its neurons" if self.encoded else "dense"
        parts = ("forward", "weight_gradient", "input_gradient")
        by_events = [part.replace("_", " ") for part in parts if getattr(self.ran, part)]
        how = f"{' and '.join(by_events)} by events" if by_events else "dense"
        if self.ran.tiles and not self.ran.input_gradient:
            how = f"{how}, input gradient by tiles"
        window = "" if self.ran.window is None else f", window {self.ran.window:.2f}"
        limits = f" ({self.ran.limits})" if self.ran.limits else ""
        return f"{how}, density {self.ran.density:.2f}{window}{limits}"

    def inputs(self, sent: Tensor | Events, dtype: torch.dtype) -> Tensor | Events:
        """Return the layer's input, as saved for backward: events, else values of type `dtype`.

        Values are channels last for a convolution, (N, C) for a product.
        """
        if isinstance(sent, Events):
            return sent
        if self.product:
            return sent.to(dtype).flatten(1)
        return sent.to(dtype).contiguous(memory_format=torch.channels_last)

    def forward(
        self, inputs: Tensor | Events, weight: Tensor, bias: Tensor, packs: PackedWeights
    ) -> Tensor:
        """Compute the current, (N, K, H, W) or (N, K); calls on the same weights share `packs`."""
        self.ran = None
        if isinstance(inputs, Events):
            from adapters.fused import choice, forward  # they need numba

            self.ran = choice.choose(inputs, weight)
            if self.ran.forward:
                return forward.convolve(inputs, weight, bias, packs)
        return self._parts.forward(self._values(inputs, weight.dtype), weight, bias)

    def weight_gradient(self, dy: Tensor, inputs: Tensor | Events, weight: Tensor) -> Tensor:
        """Compute the weight's gradient from dy, the current's gradient."""
        if isinstance(inputs, Events) and self.ran is not None and self.ran.weight_gradient:
            from adapters.fused import weight_gradient

            return weight_gradient.compute(dy, inputs, weight)
        return self._parts.weight_gradient(dy, self._values(inputs, weight.dtype), weight)

    def input_gradient(self, dy: Tensor, inputs: Tensor | Events, weight: Tensor) -> Tensor:
        """Compute the input's gradient, (N, C, H, W) or (N, C), from dy, the current's gradient.

        The kernel for events leaves 0 where the surrogate is 0, since nothing passes there; the
        others compute all of it.
        """
        if isinstance(inputs, Tensor):
            return self._parts.input_gradient(dy, inputs.shape, weight)
        if self.ran is not None and self.ran.input_gradient:
            from adapters.fused import input_gradient

            return input_gradient.compute(dy, inputs, weight)
        if self.ran is not None and self.ran.tiles:
            from adapters.fused import winograd

            return winograd.input_gradient(dy, weight)
        images, height, width, maps = inputs.counts.shape
        return self._parts.input_gradient(dy, torch.Size((images, maps, height, width)), weight)

    @property
    def _parts(self) -> Parts:
        return DENSE_PRODUCT if self.product else DENSE_CONVOLUTION

    def _values(self, inputs: Tensor | Events, dtype: torch.dtype) -> Tensor:
        """Return a layer's input as values, whether it was sent values or counts."""
        if isinstance(inputs, Events):
            from adapters.fused.neurons import values as values_of  # it needs numba

            return values_of(inputs, dtype)
        return inputs
