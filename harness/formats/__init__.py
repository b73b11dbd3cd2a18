"""Networks and weights as files that other programs read: NIR graphs and safetensors."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from harness.spec import SUFFIX, NetworkFile, UsageError


def named(networks: Iterable[str] | None) -> tuple[NetworkFile, ...]:
    """The network files among the names, read. Raises UsageError as `nir_file.read` does."""
    names = [name for name in networks or () if name.lower().endswith(SUFFIX)]
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
