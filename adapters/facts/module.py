"""An adapter's module: imported, whatever that raises, and what it holds, checked."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import EntryPoint
from types import ModuleType

from harness.adapter import Adapter, Variant

LONGEST = 300  # characters of what an import raised


class Missing(Exception):
    """A known framework that does not load here; the message says why, or how to install it."""


@dataclass(frozen=True)
class Module:
    """What an adapter's module holds."""

    framework: str
    adapter: Adapter
    revision: int
    packages: tuple[str, ...]
    variants: Mapping[str, Variant]
    says: Callable[[str], object] | None  # its `implementation`, where it has one
    states: Callable[[], object] | None  # its `version`, where it has one

    def version(self) -> str | None:
        """That of the program behind it, where it is no package of Python's. Raises Missing."""
        return None if self.states is None else self._said(self.states, "version()")

    def implementation(self, device: str) -> str | None:
        """Which kernels run on that kind of device, where it says so. Raises Missing where that
        goes wrong.
        """
        if self.says is None:
            return None
        return self._said(partial(self.says, device), f"implementation({device!r})")

    def _said(self, say: Callable[[], object], asked: str) -> str | None:
        try:
            said = say()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 it costs this adapter and no other
            reason = f"{self.framework} does not load: {asked} ends with {described(error)}"
            raise Missing(reason) from error
        if said is not None and type(said) is not str:
            raise Missing(f"{self.framework} does not load: {asked} must give a text")
        return said


def imported(framework: str, declared: EntryPoint | None) -> Module:
    """The adapter's module, as an installed package declares it, or of the file of that name.

    Raises Missing whatever its import raises: a plug-in costs itself and nobody else.
    """
    try:
        module = (
            importlib.import_module(f"adapters.{framework}")
            if declared is None
            else declared.load()
        )
        return _checked(framework, module)
    except (KeyboardInterrupt, Missing):
        raise
    except ImportError as error:
        target = f"'snn-harness[{framework}]'"
        if declared is not None:
            target = declared.dist.name if declared.dist else declared.value
        raise Missing(
            f"{framework} does not load ({described(error)}): install it with pip install {target}"
        ) from error
    except BaseException as error:  # noqa: BLE001 SystemExit included
        raise Missing(f"{framework} does not load: {described(error)}") from error


def described(error: BaseException) -> str:
    """An error of any kind as one line."""
    kind = type(error).__name__
    try:
        text = " ".join(str(error).encode(errors="replace").decode().split())
    except BaseException:  # noqa: BLE001 its text is computed by who raised it
        return kind
    return f"{kind}: {text[:LONGEST]}" if text else kind


def _checked(framework: str, module: object) -> Module:
    if not isinstance(module, ModuleType):
        raise Missing(f"{framework} is no adapter: {module!r:.100} is no module")
    place, holds = module.__name__, vars(module)
    revision, packages = holds.get("REVISION", 0), holds.get("PACKAGES", ())
    if type(revision) is not int:
        raise Missing(f"{framework}: REVISION in {place} must be a whole number")
    if not _are_texts(packages):
        raise Missing(f"{framework}: PACKAGES in {place} must be a tuple of names")
    if not isinstance(module, Adapter):
        raise Missing(
            f"{framework} is no adapter: {place} must define DEVIATIONS and build(network)"
        )
    if not _are_texts(module.DEVIATIONS):
        raise Missing(f"{framework}: DEVIATIONS in {place} must be a tuple of sentences")
    variants = holds.get("VARIANTS", {})
    if not _are_variants(variants):
        raise Missing(f"{framework}: VARIANTS in {place} must map names to Variants")
    says, states = holds.get("implementation"), holds.get("version")
    return Module(framework, module, revision, packages, variants, says, states)


def _are_texts(value: object) -> bool:
    return isinstance(value, tuple) and all(type(each) is str for each in value)


def _are_variants(value: object) -> bool:
    if not isinstance(value, Mapping):
        return False
    return all(
        type(name) is str and isinstance(each, Variant) and _are_texts(each.DEVIATIONS)
        for name, each in value.items()
    )
