"""A batch: what is asked for, what comes out, and how samples become one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor

from harness.datasets.samples import Samples, Split, choose
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


def assemble(request: Request, samples: Samples[Tensor], note: str) -> Batch:
    """Draws and reads a batch: samples (C, H, W) are static images, (T, C, H, W) event frames."""
    about = samples.about
    chosen = choose(about.count, request.batch_size, request.seed)
    drawn = [samples.read(index) for index in chosen]
    stacked = torch.stack([sample for sample, _ in drawn], dim=drawn[0][0].ndim - 3)
    labels = torch.tensor([label for _, label in drawn], dtype=torch.int64)
    source = Source(
        name=request.dataset,
        description=about.description,
        samples=about.count,
        sha256=_sha256(stacked, labels),
        partial=about.count < about.whole,
        lossy=about.lossy,
        simulated=about.simulated,
        substitute=about.substitute,
        note=note,
    )
    inputs = stacked if stacked.ndim == 5 else stacked.expand(request.T, *stacked.shape)
    return Batch(inputs, labels, source)


def _sha256(*tensors: Tensor) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
