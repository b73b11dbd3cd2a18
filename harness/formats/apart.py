"""A NIR file read in a process of its own: on a damaged one the library that reads HDF5 may hang or
crash.
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from harness.formats import hdf5, nir_in, weights
from harness.formats.nir_in import Imported
from harness.spec import LIF, Network, NeuNorm, Reading, UsageError
from harness.system import footprint
from harness.system.files import printable
from harness.system.former_child import Child, Died, Ends

PATIENCE = 120.0  # seconds that reading may take


@dataclass(frozen=True)
class _Said:
    """A network as it travels; its weights lie in a file."""

    notation: str
    input_shape: tuple[int, int, int]
    k_tau: float
    v_th: float
    a: float
    neunorm: Reading | None
    k_tau2: float
    classes: int
    population: int
    says_a: bool

    @classmethod
    def of(cls, found: Imported) -> _Said:
        network, neunorm = found.network, found.network.neunorm
        return cls(
            notation=str(network),
            input_shape=network.input_shape,
            **asdict(network.lif),
            neunorm=neunorm.reading if neunorm else None,
            k_tau2=neunorm.k_tau2 if neunorm else 0.0,
            classes=network.classes,
            population=network.population,
            says_a=found.says_a,
        )

    @property
    def network(self) -> Network:
        return Network.parse(
            self.notation,
            input_shape=self.input_shape,
            lif=LIF(self.k_tau, self.v_th, self.a),
            neunorm=NeuNorm(self.k_tau2, self.neunorm) if self.neunorm else None,
            classes=self.classes,
            population=self.population,
        )


def read(path: Path) -> Imported:
    """The network and weights of a NIR file, as `nir_in.read` says.

    Raises UsageError as that does, and where reading it hangs or ends its process.
    """
    hdf5.library()
    with tempfile.TemporaryDirectory(prefix="harness-") as folder:
        kept = Path(folder) / "weights.safetensors"
        child = Child.start(main, (path, kept), "cpu", footprint.available_mib("cpu"))
        try:
            heard = child.hear(PATIENCE)
        except Died as reason:
            raise _damaged(path, str(reason)) from None
        finally:
            child.end()
        match heard:
            case ["wrong", str() as sentence]:
                raise UsageError(printable(sentence))
            case ["read", dict() as said]:
                return _imported(path, said, kept)
            case _:
                raise _damaged(path, "what was read is no answer")


def _imported(path: Path, said: object, kept: Path) -> Imported:
    try:
        found = TypeAdapter(_Said).validate_python(said)
    except ValidationError:
        raise _damaged(path, "what was read is no answer") from None
    network = found.network
    return Imported(network, tuple(weights.load(kept, network)), found.says_a)


def _damaged(path: Path, reason: str) -> UsageError:
    return UsageError(f"{printable(path)} is a damaged HDF5 file ({reason}): export it anew")


def main(ends: Ends, path: Path, kept: Path) -> None:
    """What the process does."""
    ends.enter()
    try:
        found = nir_in.read(path)
    except UsageError as error:
        ends.say(["wrong", str(error)])
        return
    kept.write_bytes(weights.content(found.network, found.parameters))
    ends.say(["read", asdict(_Said.of(found))])
