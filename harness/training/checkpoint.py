"""A run's state after an epoch, on disk: a run that is killed goes on from its last one."""

from __future__ import annotations

import pickle
import struct
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness.spec import UsageError
from harness.system.files import write_whole

VERSION = 1  # of the file; also raised where the same settings no longer give the same weights


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to. Accuracies are in [0, 1]."""

    number: int  # from 1
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
        identity: dict[str, str],
        epochs: tuple[Epoch, ...],
        module: nn.Module,
        optimiser: torch.optim.Optimizer,
    ) -> Checkpoint:
        """The state of a run now."""
        weights = [parameter.detach() for parameter in module.parameters()]
        return cls(identity, epochs, weights, optimiser.state_dict())

    def save(self, path: Path) -> None:
        """Writes it whole or not at all. Raises UsageError where it cannot be written."""
        content = {
            "version": VERSION,
            "identity": self.identity,
            "epochs": [asdict(epoch) for epoch in self.epochs],
            "weights": self.weights,
            "optimiser": self.optimiser,
        }
        try:
            write_whole(path, lambda part: _save(content, part))
        except OSError as error:
            raise UsageError(
                f"cannot write {path} ({error.strerror or error}): give a folder that can be "
                "written with --out"
            ) from error

    @torch.no_grad()
    def restore(self, module: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        """Puts the state back."""
        for parameter, value in zip(module.parameters(), self.weights, strict=True):
            parameter.copy_(value)
        optimiser.load_state_dict(self.optimiser)


def _save(content: dict[str, Any], path: Path) -> None:
    with path.open("wb") as file:  # torch takes no path whose name begins with a dot
        torch.save(content, file)


def load(path: Path, identity: dict[str, str]) -> Checkpoint | None:
    """The checkpoint at `path`; None where there is none.

    Nothing in the file can run code. Raises UsageError where it is damaged, of another version, or
    of another run: the message says what differs.
    """
    if not path.exists():
        return None
    try:
        _refuse_compressed(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise _unusable(path, f"is damaged ({_first_line(error)})") from error
    if not isinstance(content, dict) or "version" not in content:
        raise _unusable(path, "is no checkpoint of a run")
    if content["version"] != VERSION:
        raise _unusable(path, f"is of version {content['version']}, this harness has {VERSION}")
    try:
        found = Checkpoint(
            identity=dict(content["identity"]),
            epochs=tuple(_epoch(each) for each in content["epochs"]),
            weights=list(content["weights"]),
            optimiser=content["optimiser"],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _unusable(path, f"is damaged ({_first_line(error)})") from error
    differing = [
        f"{name} is {found.identity.get(name)}, expected {identity.get(name)}"
        for name in sorted({*identity, *found.identity})
        if found.identity.get(name) != identity.get(name)
    ]
    if differing:
        raise _unusable(path, f"is of another run ({'; '.join(differing)})")
    return found


# What torch raises for a file that is cut short, changed or no checkpoint, by place.
_UNREADABLE = (
    *(RuntimeError, OSError, EOFError, ValueError, KeyError, IndexError, TypeError),
    *(AttributeError, AssertionError, MemoryError, pickle.UnpicklingError),
    *(zipfile.BadZipFile, struct.error, NotImplementedError),
)


def _refuse_compressed(path: Path) -> None:
    """Raises BadZipFile for what would take more memory than its file: torch compresses nothing."""
    with zipfile.ZipFile(path) as archive:
        told = sum(each.file_size for each in archive.infolist())
        stored = all(each.compress_type == zipfile.ZIP_STORED for each in archive.infolist())
    if not stored or told > path.stat().st_size:
        raise zipfile.BadZipFile("its entries are compressed")


def _epoch(values: dict[str, Any]) -> Epoch:
    return Epoch(
        **{**values, "rates": tuple(values["rates"]), "warnings": tuple(values["warnings"])}
    )


def _unusable(path: Path, what: str) -> UsageError:
    return UsageError(f"{path} {what}: delete it, or start anew with --fresh")


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0]
