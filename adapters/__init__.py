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
from adapters.facts import Missing, names

if TYPE_CHECKING:  # torch's import takes seconds
    from harness.adapter import Adapter

__all__ = ["Missing", "available", "check_name", "load", "missing", "names", "variants_of"]


def check_name(name: str) -> None:
    """Raises UsageError where no such framework is known, or it loads and has no such variant."""
    framework, _, variant = name.partition(":")
    facts.check_framework(framework)
    if variant and not facts.of(framework).missing:
        facts.of(framework).deviations_of(variant)


def load(name: str) -> Adapter:
    """The adapter of that name. Raises UsageError if it is unknown, Missing if it cannot load."""
    from harness import adapter

    framework, _, variant = name.partition(":")
    facts.check_framework(framework)
    for known in facts.known():
        if known.framework == framework and known.missing:  # its import might end this process
            raise Missing(known.missing)
    module = facts.imported(framework)
    if not variant:
        return module
    if variant in facts.variants_of(module):
        return facts.variants_of(module)[variant]
    for form in adapter.FORMS:
        if variant == form:
            return adapter.tuned(module, form)
    raise facts.unknown_form(name, facts.variants_of(module))


def variants_of(framework: str) -> Mapping[str, tuple[str, ...]]:
    """Where each variant beside the plain form deviates, by its name. Raises as `load` does."""
    found = facts.of(framework)
    if found.missing:
        raise Missing(found.missing)
    return found.variants


def available() -> list[str]:
    """The frameworks that load here, without their variants."""
    facts.look(names())
    return [name for name in names() if not facts.of(name).missing]


def missing(name: str) -> str | None:
    """Why that framework does not load here and how to install it; None where it loads."""
    check_name(name)
    return facts.of(name.partition(":")[0]).missing or None
