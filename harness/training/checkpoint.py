"""A run's state after an epoch, on disk: a run that is killed goes on from its last one.

A file is of this very run and as it was written, or it is refused with the reason. Loading one runs
no code.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness.spec import UsageError
from harness.system.files import unwritable, write_whole

VERSION = 2  # of the file
# What torch raises for a file that is cut short, changed or no checkpoint, by place.
_UNREADABLE = (
    *(RuntimeError, OSError, EOFError, ValueError, KeyError, IndexError, TypeError),
    *(AttributeError, AssertionError, MemoryError, pickle.UnpicklingError),
)


@dataclass(frozen=True)
class Epoch:
    """The result of one epoch. Accuracies are in [0, 1]."""

    number: int
    loss: float  # mean over the training samples
    train_accuracy: float  # of the training votes, as they came while the weights changed
    validation_accuracy: float
    test_accuracy: float
    rates: tuple[float, ...]  # spikes per neuron and step of each layer, on validation samples
    gradient_norm: float  # mean over the iterations
    learning_rate: float
    seconds: float  # of the training pass
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Checkpoint:
    """The state after an epoch. Generators are seeded anew each epoch, so none is kept."""

    identity: dict[str, str]  # what the run is of: another one's checkpoint is refused
    epochs: tuple[Epoch, ...]  # done so far
    weights: list[Tensor]  # in layer order
    optimiser: dict[str, Any]  # torch's state_dict

    @classmethod
    def of(
        cls,
        identity: Mapping[str, str],
        epochs: tuple[Epoch, ...],
        module: nn.Module,
        optimiser: torch.optim.Optimizer,
    ) -> Checkpoint:
        """The state of a run now."""
        weights = [parameter.detach() for parameter in module.parameters()]
        return cls(dict(identity), epochs, weights, optimiser.state_dict())

    @property
    def sha256(self) -> str:
        """Of all that is in it."""
        epochs = [asdict(each) for each in self.epochs]
        digest = hashlib.sha256(json.dumps([self.identity, epochs], sort_keys=True).encode())
        for name, tensor in _tensors([self.weights, self.optimiser]):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            flat = tensor.detach().cpu().contiguous().flatten()
            digest.update(flat.view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def save(self, path: Path) -> None:
        """Writes it whole or not at all. Raises UsageError where it cannot be written."""
        file = io.BytesIO()  # torch tells of a full disk in words that name no disk
        content = {
            "version": VERSION,
            "identity": self.identity,
            "epochs": [asdict(epoch) for epoch in self.epochs],
            "weights": self.weights,
            "optimiser": self.optimiser,
            "sha256": self.sha256,
        }
        torch.save(content, file)
        try:
            write_whole(path, lambda part: part.write_bytes(file.getbuffer()))
        except OSError as error:
            raise unwritable(path, error) from error

    @torch.no_grad()
    def restore(self, path: Path, module: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        """Puts the state back. Raises UsageError where it is not one of this network."""
        parameters = list(module.parameters())
        if [each.shape for each in self.weights] != [each.shape for each in parameters]:
            raise _unusable(path, "is of another network: its weights have other shapes")
        if not all(bool(each.isfinite().all()) for _, each in _tensors([*vars(self).values()])):
            raise _unusable(path, "is damaged (it holds what is no number)")
        optimiser.load_state_dict(self.optimiser)
        for each, value in zip(parameters, self.weights, strict=True):
            each.copy_(value)
            # fused steps walk through both as they lie in memory, and the run may have been of an
            # adapter that laid its weights out otherwise
            for name, kept in optimiser.state.get(each, {}).items():
                if isinstance(kept, Tensor) and kept.dim() and kept.stride() != each.stride():
                    optimiser.state[each][name] = torch.empty_like(each).copy_(kept)


def load(path: Path, identity: Mapping[str, str], most: int) -> Checkpoint | None:
    """The checkpoint at `path`, of at most `most` epochs; None where there is none.

    Raises UsageError where it is damaged, or of another version or run: the message says what.
    """
    if not path.is_file():
        if path.exists() or path.is_symlink():
            raise _unusable(path, "is no file")
        return None
    found = _content(path)
    differing = [
        f"{name} is {found.identity.get(name)}, expected {identity.get(name)}"
        for name in sorted({*identity, *found.identity})
        if found.identity.get(name) != identity.get(name)
    ]
    if differing:
        raise _unusable(path, f"is of another run ({'; '.join(differing)})")
    if len(found.epochs) > most:
        raise _unusable(path, f"has {len(found.epochs)} epochs, {most} were asked for")
    return found


def _content(path: Path) -> Checkpoint:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise _damaged(path, error) from error
    if not isinstance(content, dict) or "version" not in content:
        raise _unusable(path, "is no checkpoint of a run")
    if content["version"] != VERSION:
        raise _unusable(path, f"is of version {content['version']}, this harness has {VERSION}")
    try:
        epochs = tuple(
            Epoch(**{**each, "rates": tuple(each["rates"]), "warnings": tuple(each["warnings"])})
            for each in content["epochs"]
        )
        found = Checkpoint(content["identity"], epochs, content["weights"], content["optimiser"])
        sound = found.sha256 == content["sha256"]
    except _UNREADABLE as error:
        raise _damaged(path, error) from error
    if not sound:
        raise _unusable(path, "is damaged (it is not what its run wrote)")
    return found


def _tensors(tree: object, name: str = "") -> list[tuple[str, Tensor]]:
    """The tensors in nested lists and dicts, each with its place."""
    if isinstance(tree, Tensor):
        return [(name, tree)]
    if isinstance(tree, Mapping):
        return [each for key in tree for each in _tensors(tree[key], f"{name}.{key}")]
    if isinstance(tree, list | tuple):
        return [each for n, part in enumerate(tree) for each in _tensors(part, f"{name}.{n}")]
    return []


def _damaged(path: Path, error: Exception) -> UsageError:
    reason = f"{type(error).__name__}: {error}".partition("\n")[0]
    return _unusable(path, f"is damaged ({reason})")


def _unusable(path: Path, what: str) -> UsageError:
    return UsageError(f"{path} {what}: delete it, or start anew with --fresh")
