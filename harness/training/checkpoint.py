"""A run's state after an epoch, on disk: a run that is killed goes on from its last one.

Nothing in the file is believed: it is of this very run and whole, or it is refused with the reason.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import struct
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field, TypeAdapter, ValidationError
from torch import Tensor, nn

from harness.records import EpochRow
from harness.records.fields import Amount, Nth, Number, Share
from harness.spec import UsageError
from harness.system.files import unwritable, write_whole

VERSION = 2  # of the file


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to. Accuracies are in [0, 1]."""

    number: Nth
    loss: Number  # mean over the training samples
    train_accuracy: Share  # of the training votes, as they came while the weights changed
    validation_accuracy: Share
    test_accuracy: Share
    rates: tuple[Share, ...]  # spikes per neuron and step of each layer, on validation samples
    gradient_norm: Amount  # mean over the iterations
    learning_rate: Amount
    seconds: Amount  # of the training pass
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
        """Of all that is in it: a file that was changed is not what its run wrote."""
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
        torch.save(
            {
                "version": VERSION,
                "identity": self.identity,
                "epochs": [asdict(epoch) for epoch in self.epochs],
                "weights": self.weights,
                "optimiser": self.optimiser,
                "sha256": self.sha256,
            },
            file,
        )
        try:
            write_whole(path, lambda part: part.write_bytes(file.getbuffer()))
        except OSError as error:
            raise unwritable(path, error) from error

    @torch.no_grad()
    def restore(self, path: Path, module: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        """Puts the state back. Raises UsageError where it is not one of this network."""
        parameters = list(module.parameters())
        if [_form(each) for each in self.weights] != [_form(each) for each in parameters]:
            raise _unusable(path, "is of another network: its weights have other shapes")
        if not all(bool(each.isfinite().all()) for _, each in _tensors(self.optimiser)):
            raise _unusable(path, "is damaged (its optimiser holds what is no number)")
        if not all(bool(each.isfinite().all()) for each in self.weights):
            raise _unusable(path, "is damaged (its weights hold what is no number)")
        try:
            optimiser.load_state_dict(self.optimiser)
            fits = _fits(optimiser, parameters)
        except _UNREADABLE as error:
            raise _unusable(path, f"is damaged ({_first_line(error)})") from error
        if not fits:
            raise _unusable(path, "is damaged (its optimiser is of other weights)")
        _lay_out(optimiser, parameters)
        for parameter, value in zip(parameters, self.weights, strict=True):
            parameter.copy_(value)


def load(
    path: Path, identity: Mapping[str, str], most: int, rows: Sequence[EpochRow] = ()
) -> Checkpoint | None:
    """The checkpoint at `path`, of at most `most` epochs; None where there is none.

    `rows` are those that its run has written. Nothing in the file can run code. Raises UsageError
    where it is damaged, of another version or run, or not what the rows say: the message says what.
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
    numbers = [each.number for each in found.epochs]
    if numbers != list(range(1, len(numbers) + 1)) or len(numbers) > most:
        raise _unusable(path, f"is damaged (its epochs are {numbers[:9]}, of {most} asked for)")
    for row in rows:
        if row.epoch > len(numbers) or _figures(row) != _figures(found.epochs[row.epoch - 1]):
            raise _unusable(path, f"is not what its rows say of epoch {row.epoch}")
    return found


def _content(path: Path) -> Checkpoint:
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
            identity=_texts().validate_python(content["identity"]),
            epochs=tuple(_epochs().validate_python(content["epochs"], extra="forbid")),
            weights=[_tensor(each) for each in content["weights"]],
            optimiser=content["optimiser"],
        )
        sound = found.sha256 == content["sha256"]
    except (*_UNREADABLE, ValidationError) as error:
        raise _unusable(path, f"is damaged ({_first_line(error)})") from error
    if not sound:
        raise _unusable(path, "is damaged (it is not what its run wrote)")
    return found


def _texts() -> TypeAdapter[dict[str, str]]:
    return TypeAdapter(Annotated[dict[str, str], Field(strict=True)])


def _epochs() -> TypeAdapter[list[Epoch]]:
    return TypeAdapter(list[Epoch])


def _tensor(value: object) -> Tensor:
    if not isinstance(value, Tensor):
        raise TypeError(f"a tensor was expected, not {type(value).__name__}")
    return value


def _tensors(tree: object, name: str = "") -> list[tuple[str, Tensor]]:
    """The tensors in nested lists and dicts, each with its place."""
    if isinstance(tree, Tensor):
        return [(name, tree)]
    if isinstance(tree, Mapping):
        return [each for key in tree for each in _tensors(tree[key], f"{name}.{key}")]
    if isinstance(tree, list | tuple):
        return [each for n, part in enumerate(tree) for each in _tensors(part, f"{name}.{n}")]
    return []


def _form(tensor: Tensor) -> tuple[object, ...]:
    return tensor.dtype, tuple(tensor.shape)


def _fits(optimiser: torch.optim.Optimizer, parameters: Sequence[Tensor]) -> bool:
    """Whether what an optimiser keeps is of its parameters: of their shapes, or single numbers."""
    kept = [(each, optimiser.state.get(each, {})) for each in parameters]
    return all(
        tensor.dim() == 0 or tensor.shape == each.shape
        for each, state in kept
        for _, tensor in _tensors(state)
    )


def _lay_out(optimiser: torch.optim.Optimizer, parameters: Sequence[Tensor]) -> None:
    """Lays what an optimiser keeps out as its parameters are: its fused steps walk through both.

    A checkpoint may be of an adapter that laid its weights out otherwise.
    """
    for each in parameters:
        for name, kept in optimiser.state.get(each, {}).items():
            if isinstance(kept, Tensor) and kept.dim() and kept.stride() != each.stride():
                optimiser.state[each][name] = torch.empty_like(each).copy_(kept)


def _figures(each: Epoch | EpochRow) -> tuple[object, ...]:
    accuracies = each.train_accuracy, each.validation_accuracy, each.test_accuracy
    return each.loss, *accuracies, tuple(each.rates), each.gradient_norm


# What torch raises for a file that is cut short, changed or no checkpoint, by place.
_UNREADABLE = (
    *(RuntimeError, OSError, EOFError, ValueError, KeyError, IndexError, TypeError),
    *(AttributeError, AssertionError, MemoryError, pickle.UnpicklingError),
    *(zipfile.BadZipFile, struct.error, NotImplementedError),
)


def _refuse_compressed(path: Path) -> None:
    """Raises BadZipFile for what would take more memory than its file: torch compresses nothing."""
    with zipfile.ZipFile(path) as archive:
        said = sum(each.file_size for each in archive.infolist())
        stored = all(each.compress_type == zipfile.ZIP_STORED for each in archive.infolist())
    if not stored or said > path.stat().st_size:
        raise zipfile.BadZipFile("its entries are compressed")


def _unusable(path: Path, what: str) -> UsageError:
    return UsageError(f"{path} {what}: delete it, or start anew with --fresh")


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0]
