"""Networks and weights as files that other programs read: NIR graphs and safetensors."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from harness.spec import SUFFIX, NetworkFile, UsageError

TRAIN_NO_NETWORK = ("acceleration", "baselines", "energy")  # of ours
READ_NO_FILE = ("baselines",)


def named(
    networks: Iterable[str] | None, suite: str, *, keep_weights: bool = False
) -> tuple[NetworkFile, ...]:
    """The network files among the names, read.

    Raises UsageError as `nir_file.read` does, and where weights that the suite ends with are to be
    kept and cannot be.
    """
    if keep_weights and suite in TRAIN_NO_NETWORK:
        raise UsageError(f"the {suite} suite trains no network: leave --keep-weights out")
    names = [name for name in networks or () if name.lower().endswith(SUFFIX)]
    if names and suite in READ_NO_FILE:
        raise UsageError(f"the {suite} suite reads no network files: leave {names[0]} out")
    missing = [name for name in names if not Path(name).is_file()]
    if missing:  # said before anything is imported
        raise UsageError(f"cannot read {missing[0]}: there is no such file")
    read = list[NetworkFile]()
    for name in names:
        from harness.formats import nir_file, weights

        found = nir_file.read(Path(name))
        content = weights.content(found.network, found.parameters)
        sha256 = weights.hash_of(content)
        read.append(NetworkFile(name, found.network, sha256, found.says_a, content))
    return tuple(read)
