"""A batch: what is asked for, what comes out, and how samples become one."""

from __future__ import annotations

import hashlib
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.datasets.samples import About, Normal, Samples, Split, choose, left_out
from harness.spec import Source, UsageError


@dataclass(frozen=True)
class Request:
    """What batch is wanted. Raises UsageError where that cannot be."""

    dataset: str
    T: int
    batch_size: int
    seed: int = 0  # draws the samples
    split: Split = "train"
    root: Path | None = None  # None: HARNESS_DATA, else the user's cache folder
    download: bool = False  # False never touches the network

    def __post_init__(self) -> None:
        for name, value, least in (
            ("T", self.T, 1),
            ("batch_size", self.batch_size, 1),
            ("seed", self.seed, 0),
        ):
            if value < least:
                raise UsageError(f"{name} is {value}, expected {least} or more")
        if self.split not in get_args(Split):
            raise UsageError(f"unknown split {self.split!r}, choose from train, test")


@dataclass(frozen=True)
class Batch:
    """Inputs, labels, and where they came from."""

    inputs: Tensor  # float32 (T, B, C, H, W); a static image is expanded over T: stride 0
    labels: Tensor  # int64 (B,)
    source: Source


def assemble(request: Request, samples: Samples[NDArray[np.uint8]], note: str) -> Batch:
    """Draws and reads a batch: samples (C, H, W) are static images, (T, C, H, W) event frames."""
    about = samples.about
    chosen = choose(about.count, request.batch_size, request.seed)
    with closing(samples):
        drawn = [samples.read(index) for index in chosen]
    raw = torch.from_numpy(np.stack([sample for sample, _ in drawn]))
    labels = torch.tensor([label for _, label in drawn], dtype=torch.int64)
    inputs = network_input(raw, request.T, about.normal)
    once = inputs[0] if raw.ndim == 4 else inputs
    note = "; ".join(text for text in (note, left_out(about.left_out)) if text)
    source = source_of(request.dataset, about, sha256(once.numpy(), labels.numpy()), note)
    return Batch(inputs, labels, source)


def network_input(raw: Tensor, T: int, normal: Normal | None) -> Tensor:
    """Pixels (B, C, H, W) or event counts (B, T, C, H, W) as a network's input (T, B, C, H, W).

    float32. Pixels are normalised, and expanded over the steps; of event counts the first T steps
    are taken, as they are.
    """
    if normal is None:
        return raw[:, :T].transpose(0, 1).float().contiguous()
    mean, std = (torch.tensor(each, device=raw.device) for each in (normal.mean, normal.std))
    images = (raw.float() / 255 - mean[:, None, None]) / std[:, None, None]
    return images.expand(T, *images.shape)


def source_of(dataset: str, about: About, content: str, note: str) -> Source:
    """What a record says of samples whose content has that hash."""
    return Source(
        name=dataset,
        description=about.description,
        samples=about.count,
        sha256=content,
        partial=about.count < about.whole,
        lossy=about.lossy,
        simulated=about.simulated,
        substitute=about.substitute,
        note=note,
    )


def sha256(*arrays: NDArray[np.generic]) -> str:
    """The hash of arrays' bytes, one after the other."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
