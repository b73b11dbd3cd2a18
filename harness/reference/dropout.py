"""Dropout with a fresh mask each step, from a counter: any engine can draw the same mask.

Whether a value is kept depends on a seed, its step and sample, and its place in the maps, through a
32-bit mix, and on nothing else: not on the order of visits, the threads or the device. So an engine
that draws the mask again in the backward pass can be compared with this one spike by spike.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from harness.spec import Network

FIRST, SECOND = 0x7FEB352D, 0x846CA68B  # odd multipliers of a 32-bit finaliser with little bias
BITS = 2**32


def _mixed(x: Tensor, key: Tensor | int) -> Tensor:
    """Return 32-bit numbers, as int64, mixed: each bit depends on all of x and of the key."""
    x = x ^ (x >> 16)
    x = (x * FIRST) % BITS  # int64 wraps around; the low 32 bits are what is wanted
    x = x ^ (x >> 15) ^ key
    x = (x * SECOND) % BITS
    return x ^ (x >> 16)


def keys(seed: Tensor, steps: int, batch: int) -> Tensor:  # -> (T, B, 2), 32 bits in int64
    """Return two keys for each step and sample; `seed` is one number in [0, 2**31)."""
    image = torch.arange(steps * batch, device=seed.device).reshape(steps, batch)
    return torch.stack([_mixed(image ^ seed, which) for which in (0x5BD1E995, 0x1B873593)], -1)


def kept_mask(image_keys: Tensor, shape: tuple[int, ...], p: float) -> Tensor:
    """Return which values of images are kept by dropout: keys (B, 2) -> (B, ...).

    `shape` is that of one image, (C, H, W) or (N,).
    """
    channels, pixels = shape[0], torch.Size(shape[1:]).numel()
    # places are counted with the feature map fastest, as channels-last memory has them
    place = torch.arange(pixels * channels, device=image_keys.device)
    place = place.reshape(pixels, channels).t().reshape(shape)
    first, second = (image_keys[:, n].reshape(-1, *[1] * len(shape)) for n in (0, 1))
    return _mixed(place ^ first, second) >= threshold(p)


def threshold(p: float) -> int:
    """Return the 32-bit number below which a value is dropped, with probability p."""
    return min(BITS - 1, round(p * BITS))


def drop(values: Tensor, image_keys: Tensor, p: float) -> Tensor:
    """Set each value (B, ...) to 0 with probability p, else times 1 / (1 - p); keys (B, 2)."""
    mask = kept_mask(image_keys, tuple(values.shape[1:]), p)
    return torch.where(mask, values * (1 / (1 - p)), 0.0)


def stage_keys(network: Network, x: Tensor, *, training: bool) -> list[Tensor | None]:
    """Draw the keys (T, B, 2) of each layer's masks for a call on x (T, B, ...); None: no masks.

    Drawn from the generator of x's device.
    """
    if not training or network.dropout == 0:
        return [None] * len(network.stages)
    drawn = torch.randint(2**31 - 1, (len(network.stages),), device=x.device)
    pairs = zip(network.stages, drawn.unbind(), strict=True)
    return [keys(seed, *x.shape[:2]) if stage.drops else None for stage, seed in pairs]


class StepDropout(nn.Module):
    """Dropout that is called once a step and takes its keys from those given to `start`."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.keys: Iterator[Tensor] | None = None

    def start(self, keys: Tensor | None) -> None:  # of a call: (T, B, 2), or None: none is dropped
        self.keys = None if keys is None else iter(keys)

    def forward(self, values: Tensor) -> Tensor:  # (B, ...) -> (B, ...)
        return values if self.keys is None else drop(values, next(self.keys), self.p)
