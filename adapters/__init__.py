"""The frameworks, a module each: here by its name, elsewhere by entry point `harness.adapters`.

A name is a framework's ("snntorch"), a framework's and a variant's ("snntorch:subtract"), or a
framework's and a form's that any of them has ("snntorch:compiled", `harness.adapter`).

`load` alone imports an adapter, and torch. What is said of one a child process finds
(`adapters.facts`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from adapters import facts
from adapters.facts import Missing, check_framework, declared, imported, names, version
from harness.spec import UsageError

if TYPE_CHECKING:  # torch's import takes seconds
    from harness.adapter import Adapter

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


def check_name(name: str) -> None:
    """Raises UsageError where no such framework is known, or it loads and has no such variant."""
    framework, _, variant = name.partition(":")
    if framework not in names():
        raise UsageError(f"unknown framework {name!r}, choose from {', '.join(names())}")
    if variant and not facts.of(framework).missing:
        facts.of(framework).form(variant)


def load(name: str) -> Adapter:
    """The adapter of that name. Raises UsageError if it is unknown, Missing if it cannot load."""
    from harness import adapter

    framework, _, variant = name.partition(":")
    check_framework(framework)
    for known in facts.known():
        if known.framework == framework and known.missing:  # its import might end this process
            raise Missing(known.missing)
    module = imported(framework)
    if not variant:
        return module.adapter
    if variant in module.variants:
        return module.variants[variant]
    for form in adapter.FORMS:
        if variant == form:
            return adapter.tuned(module.adapter, form)
    has = ", ".join([*module.variants, *adapter.FORMS])
    raise UsageError(f"unknown variant {name!r}, {framework} has: {has}")


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
