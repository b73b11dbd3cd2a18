"""A run's state after an epoch, or within a long one, on disk: a killed run goes on from it.

A file is of this very run and as it was written, or it is refused with the reason. Loading one runs
no code.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness.machine.files import write_result
from harness.records import EpochResult
from harness.spec import UsageError

_DIGEST = hashlib.sha256().digest_size


@dataclass(frozen=True)
class EpochPart:
    """What an epoch that is under way needs to go on, besides weights and optimiser."""

    number: int  # of the epoch
    losses: Tensor  # (n,) of its n iterations so far
    norms: Tensor  # (n,) of their gradients
    right: Tensor  # (n,) samples classified right
    seconds: float
    draws: list[Tensor]  # states of the generators


def save(
    path: Path,
    identity: Mapping[str, str],
    epochs: tuple[EpochResult, ...],
    module: nn.Module,
    optimiser: torch.optim.Optimizer,
    part: EpochPart | None = None,
) -> None:
    """Write a run's state whole or not at all. Raises Unwritable."""
    content = {
        "part": None if part is None else dict(vars(part)),
        "identity": dict(identity),
        "epochs": [asdict(epoch) for epoch in epochs],
        "weights": [parameter.detach() for parameter in module.parameters()],
        "optimiser": optimiser.state_dict(),
    }
    write_sealed(path, content)


@torch.no_grad()
def restore(
    path: Path, identity: Mapping[str, str], module: nn.Module, optimiser: torch.optim.Optimizer
) -> tuple[tuple[EpochResult, ...], EpochPart | None]:
    """Restore what `save` wrote; return the epochs done so far, and the one that was under way.

    Returns none where there is no file.
    Raises UsageError where it is damaged, or of another run, naming a difference.
    """
    try:
        content = read_sealed(path)
    except FileNotFoundError:
        return (), None
    except OSError as error:
        raise _unusable(path, f"cannot be read ({error.strerror})") from error
    if content is None:
        raise _unusable(path, "is damaged (it is not what its run wrote)")
    theirs = content["identity"]
    for name in sorted({*identity, *theirs}):
        has, expected = theirs.get(name), identity.get(name)
        if has != expected:
            raise _unusable(path, f"is of another run ({name} is {has}, expected {expected})")
    weights, state = content["weights"], content["optimiser"]["state"].values()
    values = [*weights, *(value for moments in state for value in moments.values())]
    if not all(bool(value.isfinite().all()) for value in values if isinstance(value, Tensor)):
        raise _unusable(path, "is damaged (it holds values that are no numbers)")
    optimiser.load_state_dict(content["optimiser"])
    for parameter, value in zip(module.parameters(), weights, strict=True):
        parameter.copy_(value)
        # fused steps walk through both as they lie in memory, and the run may have been of an
        # adapter that laid its weights out otherwise
        for name, value in optimiser.state.get(parameter, {}).items():
            if isinstance(value, Tensor) and value.dim() and value.stride() != parameter.stride():
                optimiser.state[parameter][name] = torch.empty_like(parameter).copy_(value)
    part = content.get("part")  # the first checkpoints had none
    return tuple(EpochResult(**epoch) for epoch in content["epochs"]), part and EpochPart(**part)


def _unusable(path: Path, what: str) -> UsageError:
    return UsageError(f"{path} {what}: delete it, or start anew with --fresh")


def write_sealed(path: Path, content: object) -> None:
    """Write tensors, numbers, texts, lists and dicts after their SHA-256. Raises Unwritable."""
    file = io.BytesIO(bytes(_DIGEST))  # torch tells of a full disk in words that name no disk
    file.seek(_DIGEST)
    torch.save(content, file)
    with file.getbuffer() as whole:
        whole[:_DIGEST] = hashlib.sha256(whole[_DIGEST:]).digest()
        write_result(path, whole)


def read_sealed(path: Path) -> Any | None:
    """Return what `write_sealed` wrote, on the CPU; None where the file is damaged.

    Nothing of a damaged file is loaded. Raises OSError where it cannot be read.
    """
    whole = memoryview(path.read_bytes())
    digest, content = whole[:_DIGEST], whole[_DIGEST:]
    if hashlib.sha256(content).digest() != digest:
        return None
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
