"""Network and weight files that other programs read: NIR graphs and safetensors."""

from __future__ import annotations

from collections.abc import Iterable

from harness.spec import SUFFIX, NetworkFile, UsageError
from harness.spec.options import parse_path


def read_networks(networks: Iterable[str] | None) -> tuple[NetworkFile, ...]:
    """Read those of the named networks that are files (*.nir); leave out the others.

    Raises UsageError if nir or a file is missing, or a file is damaged or no network of the paper.
    """
    names = [name for name in networks or () if name.lower().endswith(SUFFIX)]
    missing = [name for name in names if not parse_path(name).is_file()]
    if missing:  # checked before torch and nir are imported
        raise UsageError(f"cannot read {missing[0]}: there is no such file")
    if not names:
        return ()
    from harness.formats import nir_file

    return tuple(map(nir_file.read, names))
