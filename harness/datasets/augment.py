"""Random crop and flip of a batch, as CIFAR-10 is trained with (appendix B)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

PADDING = 4  # black pixels on each side, of which the crop may show


def cropped_and_flipped(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image uint8 (B, C, H, W) moved by up to PADDING pixels, and mirrored or not.

    The generator is of the CPU, so that all devices draw the same.
    """
    count, _, height, width = images.shape
    place = torch.randint(0, 2 * PADDING + 1, (2, count), generator=generator)
    mirrored = torch.randint(0, 2, (count,), generator=generator).bool()
    rows = place[0][:, None] + torch.arange(height)  # (B, H)
    columns = place[1][:, None] + torch.arange(width)  # (B, W)
    columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    rows, columns = rows.to(images.device), columns.to(images.device)
    padded = F.pad(images, (PADDING,) * 4)
    sample = torch.arange(count, device=images.device)[:, None, None]
    # indices around the channels' slice put the channels last
    return padded[sample, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
