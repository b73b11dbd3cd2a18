"""The frameworks, one file each: here by file name, elsewhere by entry point `harness.adapters`.

A name is a framework's ("snntorch"), a framework's and a variant's ("snntorch:subtract"), or a
framework's and a form's that any of them has ("snntorch:compiled", `harness.adapter`).
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from types import ModuleType

from harness import adapter
from harness.adapter import Adapter, Variant
from harness.spec import UsageError
from harness.system import installed

ENTRY_POINTS = "harness.adapters"  # `harness.system.installed` tells this package by this line


class Missing(Exception):
    """A known framework that does not load here; the message says how to install it."""


@cache
def _installed() -> Mapping[str, metadata.EntryPoint]:
    return {point.name: point for point in metadata.entry_points(group=ENTRY_POINTS)}


def names() -> tuple[str, ...]:
    """Every known framework, whether it loads here or not, without importing any."""
    here = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted({*here, *_installed()}))


def check_name(name: str) -> None:
    """Raises UsageError where no such framework is known; its variants are known once it loads."""
    if name.partition(":")[0] not in names():
        raise UsageError(f"unknown framework {name!r}, choose from {', '.join(names())}")


def load(name: str) -> Adapter:
    """The adapter of that name. Raises UsageError if it is unknown, Missing if it cannot load."""
    check_name(name)
    framework, _, variant = name.partition(":")
    module = _module(framework)
    if not variant:
        return _checked(module, framework)
    variants = variants_of(framework)
    if variant in variants:
        return variants[variant]
    for form in adapter.FORMS:
        if variant == form:
            return adapter.tuned(_checked(module, framework), form)
    known = ", ".join([*variants, *adapter.FORMS])
    raise UsageError(f"unknown variant {name!r}, {framework} has: {known}")


def variants_of(framework: str) -> Mapping[str, Variant]:
    """The variants a framework offers beside its plain form, by name. Raises as `load` does."""
    check_name(framework)
    return vars(_module(framework)).get("VARIANTS", {})


def available() -> list[str]:
    """The frameworks that load here, without their variants."""
    return [name for name in names() if missing(name) is None]


def missing(name: str) -> str | None:
    """Why that framework does not load here and how to install it; None where it loads."""
    try:
        load(name)
    except Missing as reason:
        return str(reason)
    return None


def _module(framework: str) -> ModuleType:
    point = _installed().get(framework)
    try:
        return importlib.import_module(f"{__name__}.{framework}") if point is None else point.load()
    except ImportError as error:
        target = f"'snn-harness[{framework}]'"
        if point is not None:
            target = point.dist.name if point.dist else point.value
        raise Missing(
            f"{framework} does not load ({error}): install it with pip install {target}"
        ) from error


def _checked(module: ModuleType, framework: str) -> Adapter:
    place, named = module.__name__, _named(module)
    if type(_revision(module)) is not int:
        raise Missing(f"{framework}: REVISION in {place} must be a whole number")
    if not isinstance(named, tuple) or not all(isinstance(each, str) for each in named):
        raise Missing(f"{framework}: PACKAGES in {place} must be a tuple of names")
    if not isinstance(module, Adapter):
        raise Missing(
            f"{framework} is no adapter: {place} must define DEVIATIONS and build(network)"
        )
    return module


def _revision(module: ModuleType) -> int:
    return vars(module).get("REVISION", 0)


def _named(module: ModuleType) -> tuple[str, ...]:
    return vars(module).get("PACKAGES", ())


def implementation(framework: str, device: str) -> str | None:
    """Which kernels a framework runs on a device, where its adapter says; None where it does not.

    An adapter with more than one defines `implementation(device)` beside `build`.
    """
    said = vars(_module(framework)).get("implementation") if framework in names() else None
    return said(device) if said is not None else None


def version(framework: str) -> str | None:
    """The installed version of the package behind a framework; None for our own."""
    point = _installed().get(framework)
    if point is not None:
        return point.dist.version if point.dist else None
    extras = metadata.metadata("snn-harness").get_all("Provides-Extra") or []
    # not installed, or an extra of our own
    return installed.version(framework) if framework in extras else None


def revision(framework: str) -> int:
    """The adapter's REVISION: raised by hand when what it computes changes; 0 where it has none.

    Raises as `load` does.
    """
    check_name(framework)
    module = _module(framework)
    _checked(module, framework)
    return _revision(module)


def packages(framework: str) -> tuple[tuple[str, str], ...]:
    """Names and installed versions of the packages that compute for a framework, its own first.

    That is the framework's (of an entry point: its distribution), then those of the adapter's
    PACKAGES that are installed. Raises as `load` does.
    """
    check_name(framework)
    module = _module(framework)
    _checked(module, framework)
    point = _installed().get(framework)
    name = framework if point is None else point.dist.name if point.dist else None
    first = {} if name is None else {name: version(framework)}
    found = {**first, **{each: installed.version(each) for each in _named(module)}}
    return tuple((name, each) for name, each in found.items() if each is not None)
