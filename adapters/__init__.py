"""The frameworks, a module each: here by its name, elsewhere by entry point `harness.adapters`.

A name is a framework's ("snntorch"), a framework's and a variant's ("snntorch:subtract"), or a
framework's and a form's that any of them has ("snntorch:compiled", `harness.adapter`).

`load` alone imports an adapter. What is said of one is found by a process apart (`adapters.facts`).
"""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Mapping
from functools import cache
from importlib import metadata

from adapters import facts
from adapters.facts.module import Missing, imported
from harness import adapter
from harness.adapter import Adapter
from harness.spec import UsageError
from harness.system import installed

__all__ = [
    "Missing",
    "available",
    "check_framework",
    "check_name",
    "declared",
    "facts",
    "implementation",
    "load",
    "missing",
    "names",
    "packages",
    "revision",
    "variants_of",
    "version",
]

NO_FRAMEWORKS = {"facts", "foreign"}  # of the modules here
ENTRY_POINTS = "harness.adapters"


def _declared() -> Mapping[str, metadata.EntryPoint]:
    return _declared_on(tuple(sys.path))


@cache
def _declared_on(path: tuple[str, ...]) -> Mapping[str, metadata.EntryPoint]:
    # `path`: what is found where Python searches
    return {point.name: point for point in metadata.entry_points(group=ENTRY_POINTS)}


def declared(framework: str) -> metadata.EntryPoint | None:
    """What an installed package declares as that framework's adapter; None for a file here."""
    return _declared().get(framework)


def names() -> tuple[str, ...]:
    """Every known framework, whether it loads here or not, without importing any."""
    here = {module.name for module in pkgutil.iter_modules(__path__)} - NO_FRAMEWORKS
    return tuple(sorted({*here, *_declared()}))


def check_framework(framework: str) -> None:
    """Raises UsageError where no such framework is known."""
    if framework not in names():
        raise UsageError(f"unknown framework {framework!r}, choose from {', '.join(names())}")


def check_name(name: str) -> None:
    """Raises UsageError where no such framework is known, or it loads and has no such variant."""
    framework, _, variant = name.partition(":")
    if framework not in names():
        raise UsageError(f"unknown framework {name!r}, choose from {', '.join(names())}")
    if variant and not facts.of(framework).missing:
        facts.of(framework).form(variant)


def load(name: str) -> Adapter:
    """The adapter of that name. Raises UsageError if it is unknown, Missing if it cannot load."""
    framework, _, variant = name.partition(":")
    check_framework(framework)
    reason = facts.reason_known(framework)
    if reason:  # its import might take this process along
        raise Missing(reason)
    module = imported(framework, declared(framework))
    if not variant:
        return module.adapter
    if variant in module.variants:
        return module.variants[variant]
    for form in adapter.FORMS:
        if variant == form:
            return adapter.tuned(module.adapter, form)
    known = ", ".join([*module.variants, *adapter.FORMS])
    raise UsageError(f"unknown variant {name!r}, {framework} has: {known}")


def variants_of(framework: str) -> Mapping[str, facts.FormFacts]:
    """The variants a framework offers beside its plain form, by name. Raises as `load` does."""
    return {each.name: each for each in _loads(framework).variants}


def available() -> list[str]:
    """The frameworks that load here, without their variants."""
    facts.look(names())
    return [name for name in names() if not facts.of(name).missing]


def missing(name: str) -> str | None:
    """Why that framework does not load here and how to install it; None where it loads."""
    check_name(name)
    return facts.of(name.partition(":")[0]).missing or None


def _loads(framework: str) -> facts.Facts:
    """What is known of a framework that loads. Raises as `load` does."""
    found = facts.of(framework)
    if found.missing:
        raise Missing(found.missing)
    return found


def implementation(framework: str, device: str) -> str | None:
    """Which kernels a framework runs on a device, where its adapter says; None where it does not.

    An adapter with more than one defines `implementation(device)` beside `build`.
    """
    return _loads(framework).implementation(device) if framework in names() else None


def version(framework: str) -> str | None:
    """The installed version of the package behind a framework; None for our own."""
    point = declared(framework)
    if point is not None:
        return point.dist.version if point.dist else None
    extras = metadata.metadata("snn-harness").get_all("Provides-Extra") or []
    # not installed, or an extra of our own
    return installed.version(framework) if framework in extras else None


def revision(framework: str) -> int:
    """The adapter's REVISION: raised by hand when what it computes changes; 0 where it has none.

    Raises as `load` does.
    """
    return _loads(framework).revision


def packages(framework: str) -> tuple[tuple[str, str], ...]:
    """Names and installed versions of the packages that compute for a framework, its own first.

    That is the framework's (of an entry point: its distribution), then those of the adapter's
    PACKAGES that are installed. Raises as `load` does.
    """
    return _loads(framework).packages
