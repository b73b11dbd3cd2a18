"""Facts about adapters, found without importing them here.

An import may do anything, so a child process does it. Its findings are kept in the user's cache
folder until the adapter, an installed package or what it runs on changes.

Nothing of an adapter, nor torch, is imported here but by `load`.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import platform
import shutil
import sys
import threading
from ast import literal_eval
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, field
from fractions import Fraction
from functools import cache
from importlib import metadata, util
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Literal, cast

from packaging.requirements import Requirement

from adapters import overlay
from harness.machine import installed
from harness.machine.files import cached
from harness.spec import (
    ANN,
    FLOOR,
    FORMS,
    NEURON_SOURCES,
    OWN_CLASS,
    Contender,
    Form,
    NeuronSource,
    UsageError,
    paper,
)

if TYPE_CHECKING:  # torch's import takes seconds
    from harness.adapter import Adapter

NO_FRAMEWORKS = {"facts", "foreign", "overlay"}  # of the modules here
ENTRY_POINTS = "harness.adapters"
PATIENCE = 60.0  # seconds that an import may take
LONGEST = 300  # characters of what an import raised
NO_NEURONS = {"torch", "harness", "adapters"}  # whose modules show no framework's neuron


class Missing(Exception):
    """Error: a known framework cannot be loaded; the message says why, or how to install it."""

    status: Literal["missing"] = "missing"  # written into the case's row


@dataclass(frozen=True)
class Facts:
    """What a child process found out about a framework's adapter by importing it."""

    framework: str
    version: str | None = None  # of the package or program behind it; None for our own
    packages: Mapping[str, str] = field(default_factory=dict)  # versions of those that compute
    revision: int = 0
    deviations: tuple[str, ...] = ()
    variants: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # their deviations
    implementations: Mapping[str, str] = field(default_factory=dict)  # by device, or {}
    foreign: bool = False  # has a `trainer`: its own runtime, no torch module
    missing: str = ""  # why it does not load here; "" where it does
    changed: tuple[str, ...] = ()  # what its import does to its process: "sets ... to ..."
    neuron: NeuronSource | None = None  # whose code it is; None: not declared
    neurons: Mapping[str, NeuronSource | None] = field(default_factory=dict)  # of each variant
    undeclared: tuple[str, ...] = ()  # why a neuron is not declared, a sentence each

    def deviations_of(self, form: str) -> tuple[str, ...]:
        """Return how a variant deviates from the paper's function; "" is the plain framework.

        A tuned form (`FORMS`) deviates as the plain one. Raises UsageError for any other name.
        """
        if form and form not in self.variants and form not in FORMS:
            raise _unknown_form(self.framework, form, self.variants)
        return self.variants.get(form, self.deviations)

    def neuron_of(self, form: str) -> NeuronSource | None:
        """Return whose code a variant's neuron is; a tuned form's is the plain framework's."""
        return self.neurons.get(form, self.neuron)


def _unknown_form(framework: str, form: str, variants: Iterable[str]) -> UsageError:
    names = ", ".join([*variants, *FORMS])
    return UsageError(f"unknown variant '{framework}:{form}', {framework} has: {names}")


@cache
def _declared_on(path: tuple[str, ...]) -> Mapping[str, metadata.EntryPoint]:
    """Return the adapters that installed packages declare, by name, without reserved names."""
    # `path`: the folders that Python searches
    points = metadata.entry_points(group=ENTRY_POINTS)
    return {point.name: point for point in points if point.name not in _reserved()}


def refused() -> tuple[str, ...]:
    """Return a sentence for each installed adapter that is ignored, since we use its name."""
    points = metadata.entry_points(group=ENTRY_POINTS)
    return tuple(
        f"{point.dist.name if point.dist else point.value} declares the adapter {point.name!r}, "
        "which is a name of ours: it is ignored; rename its entry point"
        for point in points
        if point.name in _reserved()
    )


def _reserved() -> set[str]:
    """Return the names of our own adapters, of the floor and of the network without spikes."""
    return {FLOOR, ANN, *_modules()}


def _declared(framework: str) -> metadata.EntryPoint | None:
    """Return the entry point of an installed package for that adapter; None for a file here."""
    return _declared_on(tuple(sys.path)).get(framework)


def _folders() -> list[str]:
    return [*sys.modules["adapters"].__path__]


def _modules() -> set[str]:
    return {module.name for module in pkgutil.iter_modules(_folders())}


def names() -> tuple[str, ...]:
    """Return every known framework, whether it loads here or not, without importing any."""
    return tuple(sorted({*_modules() - NO_FRAMEWORKS, *_declared_on(tuple(sys.path))}))


def _check(framework: str) -> None:
    """Raise UsageError for a contender whose framework or version there is not."""
    contender = Contender.parse(framework)
    if contender.framework not in names():
        raise UsageError(
            f"unknown framework {contender.framework!r}, choose from {', '.join(names())}"
        )
    if contender.version is not None:
        _check_versioned(contender.framework)
    overlay.version_of(framework)


def _check_versioned(framework: str) -> None:
    if framework not in versioned():
        raise UsageError(f"{framework} has no versions; {', '.join(versioned())} have")


def versioned() -> tuple[str, ...]:
    """Return the frameworks whose versions can be named, as in norse@1.0.0."""
    return tuple(name for name in names() if name in _packages())


def releases(framework: str) -> list[str]:
    """Ask pip for the releases of a framework, newest first. Raises UsageError if it finds none."""
    _check(framework)
    _check_versioned(framework)
    try:
        return overlay.releases(framework)
    except overlay.NotInstalled as reason:
        raise UsageError(str(reason)) from None


def check_name(name: str) -> None:
    """Raise UsageError for an unknown framework, or an unknown variant of one that loads."""
    contender = Contender.parse(name)
    _check(contender.package)
    if name.endswith(":"):
        raise UsageError(f"{name!r} names no variant: leave the colon out")
    if contender.suffix and not (facts := look_up(contender.package)).missing:
        facts.deviations_of(contender.suffix)


def load(name: str) -> Adapter:
    """Import and return an adapter or a variant by its name: "norse", "norse@1.0.0:super".

    A version goes first on `sys.path`. Raises UsageError if it is unknown, Missing if it fails.
    """
    from harness import adapter

    contender = Contender.parse(name)
    framework, form = contender.package, contender.suffix
    _check(framework)
    if framework in _known and _known[framework].missing:  # its import might end this process
        raise Missing(_known[framework].missing)
    version = _add_version(framework)
    if version and framework in _known and version != _known[framework].version:
        raise Missing(
            f"{framework} changed meanwhile: it was {_known[framework].version}, it is {version}; "
            "run again"
        )
    module = _imported(framework)
    variants = getattr(module, "VARIANTS", {})
    if not form or form in variants:
        return variants[form] if form else module
    if form in FORMS:
        return adapter.tuned(module, cast("Form", form))
    raise _unknown_form(framework, form, variants)


def variants_of(framework: str) -> Mapping[str, tuple[str, ...]]:
    """Map an adapter's own variants, without the plain "", to how they deviate from the paper.

    Raises UsageError for an unknown framework, Missing where it does not load here.
    """
    facts = look_up(framework)
    if facts.missing:
        raise Missing(facts.missing)
    return facts.variants


def available() -> list[str]:
    """Return the frameworks that load here, without their variants."""
    discover(names())
    return [name for name in names() if not look_up(name).missing]


def missing(name: str) -> str | None:
    """Return why that framework does not load here and how to install it; None where it loads."""
    check_name(name)
    return look_up(Contender.parse(name).package).missing or None


def broken() -> dict[str, str]:
    """Map the adapters of other packages that do not load here to why.

    They run only where they are named.
    """
    others = tuple(_declared_on(tuple(sys.path)))
    discover(others)
    return {name: look_up(name).missing for name in others if look_up(name).missing}


_known: dict[str, Facts] = {}
_looking = threading.Lock()


def look_up(framework: str) -> Facts:
    """Return the facts of a framework, found now if need be. Raises UsageError if it is unknown."""
    discover((framework,))
    return _known[framework]


def discover(frameworks: Iterable[str]) -> None:
    """Find the facts not known yet: from the cache, else by imports in a child process.

    Installs a version that a name asks for. Raises UsageError for an unknown framework.
    """
    with _looking:
        unknown = [name for name in dict.fromkeys(frameworks) if name not in _known]
        for name in unknown:
            _check(name)
        for name in unknown:
            remember(_cached(name))


def snapshot() -> tuple[Facts, ...]:
    """Return the facts of all frameworks that were looked up so far."""
    return tuple(_known.values())


def forget_versions() -> None:
    """Forget the facts of named versions (`norse@PATH`): a checkout may have changed since."""
    for name in [name for name in _known if Contender.parse(name).version is not None]:
        del _known[name]


def remember(*facts: Facts) -> None:
    """Add facts, of another process or from the cache, to those that this process knows."""
    _known.update({adapter.framework: adapter for adapter in facts})


@cache
def _packages() -> set[str]:
    """Return the packages that our extras bring; a framework's has the framework's name."""
    requirements = metadata.requires("snn-harness") or ()
    return {Requirement(requirement).name for requirement in requirements}


def _version(framework: str) -> str | None:
    """Return the installed version of the package behind a framework; None for our own."""
    point = _declared(framework)
    if point is not None:  # of the framework, not of the plug-in, where it has the framework's name
        return installed.version(framework) or (point.dist.version if point.dist else None)
    # not installed, or an extra of our own
    return installed.version(framework) if framework in _packages() else None


def _add_version(framework: str) -> str | None:
    """Have this process import the version that the name has; return it. Raises Missing."""
    version = overlay.version_of(framework)
    if version is None:
        return None
    try:
        return overlay.add(version)
    except overlay.NotInstalled as reason:
        raise Missing(f"{framework} does not load: {reason}") from None


def _key(framework: str) -> str:
    """Return all that a framework's facts depend on. Raises NotInstalled."""
    point = _declared(framework)
    if point is None:
        folders = [Path(folder) for folder in _folders()]
        kinds = ("*.py", "*.m")
        files = sorted(file for at in folders for kind in kinds for file in at.rglob(kind))
    else:
        spec = util.find_spec(point.module.partition(".")[0])
        files = [Path(spec.origin)] if spec and spec.origin else []
        places = (spec.submodule_search_locations or ()) if spec else ()
        files += sorted(file for place in places for file in Path(place).rglob("*.py"))
    # an installation changes its folder; another BLAS is another link
    files += [Path(place) for place in sys.path if place.endswith("-packages")]
    files += [Path("/etc/alternatives")]
    programs = (os.environ.get("HARNESS_OCTAVE", ""), "octave-cli", "matlab")
    files += [Path(program) for program in map(shutil.which, programs) if program]
    moments = [(str(file), file.stat().st_mtime_ns) for file in files if os.access(file, os.F_OK)]
    settings = [os.environ.get(name) for name in ("HARNESS_OCTAVE", "CUDA_VISIBLE_DEVICES")]
    machine = Path("/dev/nvidiactl").exists(), settings, sys.version, platform.node()
    version = overlay.version_of(framework)
    # files that are committed meanwhile are the same, and their version's words are not
    checkout = version and (overlay.ensure_installed(version), overlay.commit_at(version))
    # facts kept by an earlier version of this file had fewer
    fields = tuple(Facts.__dataclass_fields__)
    return repr((fields, framework, point, _version(framework), checkout, moments, *machine))


def _cached(framework: str) -> Facts:
    """Return the facts of a framework from the cache, else from a child process of its own."""

    def ask() -> Facts:
        """Ask a child process, which imports the framework. Raises Missing where it dies."""
        from harness.machine.child import Child, Died

        try:
            with Child() as child:
                return child.call(_imported_facts, framework, _folders(), silence=PATIENCE)
        except Died as error:  # which is not kept: it may have been a busy machine
            raise Missing(str(error)) from None

    def read(path: Path) -> Facts:
        return Facts(*literal_eval(path.read_text("utf-8")))

    def write(path: Path, facts: Facts) -> None:
        path.write_text(repr(astuple(facts)), "utf-8")

    try:
        return cached("frameworks", ".txt", _key(framework), ask, read, write)[0]
    except (Missing, overlay.NotInstalled) as error:
        reason = f"{framework} does not load: {error}"
        return Facts(framework, _version(framework), missing=reason)


def _imported_facts(framework: str, folders: list[str]) -> Facts:
    """Return the facts of an adapter that is imported in this process for them."""
    import torch

    import harness.reference.network  # noqa: F401 every adapter imports it
    from harness.adapter import trainer_of
    from harness.machine import host

    sys.modules["adapters"].__path__[:] = folders
    settings, version = host.settings(), _version(framework)
    checked_out = None  # of a version that the name has, in words
    try:
        checked_out = _add_version(framework)
        version = checked_out or version
        module = _imported(framework)
        changed = host.changes(settings)
        # of a device that is not here nobody asks, and to import its compiler takes a second
        devices = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
        implementation = getattr(module, "implementation", None)
        implementations = {
            device: str(implementation(device)) for device in devices if implementation
        }
        version_of = getattr(module, "version", None)
        if version_of and not checked_out:
            version = str(version_of())  # a plug-in's may be a number, or packaging's Version
    except BaseException as error:  # noqa: BLE001 it costs this adapter and no other
        reason = str(error)
        if not isinstance(error, Missing):
            reason = f"{framework} does not load: {describe_error(error)}"
        if checked_out:  # with what it requires
            reason += f"; it is {checked_out}"
        return Facts(framework, version, missing=reason)
    point = _declared(framework)
    name = framework
    if point is not None and point.dist and installed.version(framework) is None:
        name = point.dist.name
    packages = {name: version}
    packages |= {name: installed.version(name) for name in getattr(module, "PACKAGES", ())}
    neurons, undeclared = _neurons(framework, module)
    return Facts(
        framework,
        version,
        {name: version for name, version in packages.items() if version is not None},
        getattr(module, "REVISION", 0),
        module.DEVIATIONS,
        {name: form.DEVIATIONS for name, form in getattr(module, "VARIANTS", {}).items()},
        implementations,
        trainer_of(module) is not None,
        changed=changed,
        neuron=neurons.pop(""),
        neurons=neurons,
        undeclared=undeclared,
    )


def _neurons(
    framework: str, adapter: Adapter
) -> tuple[dict[str, NeuronSource | None], tuple[str, ...]]:
    """Return whose code the neuron of each variant is ("": the plain one), and why it is not known.

    The framework's own class is looked for in the built module, which is of a small network.
    """
    plain = getattr(adapter, "NEURON", None)
    neurons, reasons = dict[str, NeuronSource | None](), list[str]()
    for form, variant in {"": adapter, **getattr(adapter, "VARIANTS", {})}.items():
        declared = (getattr(variant, "NEURON", None) if form else None) or plain
        reason = _wrongly_declared(framework, adapter, variant, declared)
        neurons[form] = None if reason else cast("NeuronSource", declared)
        # what is wrong with the plain one is said once
        if reason and (not form or (declared is not plain or neurons[""])):
            reasons.append(f"{framework}{':' if form else ''}{form} {reason}")
    return neurons, tuple(reasons)


def _wrongly_declared(framework: str, adapter: Adapter, variant: Adapter, declared: object) -> str:
    """Return what is wrong with a declared `NEURON`, after the contender's name; "" if nothing."""
    choices = ", ".join(map(repr, NEURON_SOURCES))
    if declared is None:
        return f"has no NEURON, which says whose code is timed: {choices}"
    if declared not in NEURON_SOURCES:
        return f"is not declared: its NEURON is {declared!r:.100}, use one of {choices}"
    if declared != OWN_CLASS:
        return ""
    name = Contender.parse(framework).framework
    packages = [name] if not _declared(framework) or installed.version(name) else []
    packages += getattr(adapter, "PACKAGES", ())
    tops = {top for name in packages for top in installed.import_names(name)} - NO_NEURONS
    _, small = paper.network("Small", "cifar10", width=Fraction(1, 8))
    try:
        modules = {type(module).__module__ for module in variant.build(small).modules()}
    except Exception as error:  # noqa: BLE001 of its own, in whatever it builds
        return f"claims {OWN_CLASS!r}, and does not build a network: {describe_error(error)}"
    modules -= {getattr(adapter, "__name__", "")}
    if any(module.partition(".")[0] in tops for module in modules):
        return ""
    places = " or ".join(packages) or "any package: PACKAGES names the framework's"
    return f"claims {OWN_CLASS!r}, and its built network holds no module of {places}"


def describe_error(error: BaseException) -> str:
    """Return an error as one line: its type, and its message up to 300 characters."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:LONGEST]}" if text else type(error).__name__


def _named(point: metadata.EntryPoint) -> str:
    """Return the package that declares an adapter, with its version."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value


def _lacking(point: metadata.EntryPoint, error: ImportError) -> str:
    """Say what an installed adapter's import failed at: its package is there, and is not it."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"{_named(point)} imports {error.name}, which is not installed here"
    return f"{_named(point)} is installed, and its import failed ({describe_error(error)})"


def _imported(framework: str) -> Adapter:
    """Import the adapter's module: that of an installed package, or the file of that name.

    Raises Missing whatever its import raises: a plug-in costs itself and nobody else.
    """
    from harness.adapter import CONTRACT, Adapter, Variant

    point, contender = _declared(framework), Contender.parse(framework)
    try:
        module = (
            point.load() if point else importlib.import_module(f"adapters.{contender.framework}")
        )
    except (KeyboardInterrupt, Missing):
        raise
    except ImportError as error:
        if point is not None:
            raise Missing(f"{framework} does not load: {_lacking(point, error)}") from error
        remedy = (
            "" if contender.version else f": install it with pip install 'snn-harness[{framework}]'"
        )
        raise Missing(f"{framework} does not load ({describe_error(error)}){remedy}") from error
    except BaseException as error:  # noqa: BLE001 SystemExit included
        raise Missing(f"{framework} does not load: {describe_error(error)}") from error
    if not isinstance(module, ModuleType):
        raise Missing(f"{framework} is no adapter: {module!r:.100} is no module")
    place = module.__name__
    if (contract := getattr(module, "CONTRACT", CONTRACT)) != CONTRACT:
        release = f"a release of {_named(point)}" if point else "a version"
        raise Missing(
            f"{framework} is of contract {contract!r:.100}, this is contract {CONTRACT} "
            f"(adapters/README.md): install {release} of this contract, or another snn-harness"
        )
    if not isinstance(module, Adapter):
        raise Missing(
            f"{framework} is no adapter: {place} must define DEVIATIONS and build(network)"
        )

    def are_texts(value: object) -> bool:
        return isinstance(value, tuple) and all(isinstance(text, str) for text in value)

    variants = getattr(module, "VARIANTS", {})
    requirements = {
        "REVISION": ("a whole number", type(getattr(module, "REVISION", 0)) is int),
        "PACKAGES": ("a tuple of names", are_texts(getattr(module, "PACKAGES", ()))),
        "DEVIATIONS": ("a tuple of sentences", are_texts(module.DEVIATIONS)),
        "VARIANTS": (
            "a mapping of names to Variants",
            isinstance(variants, Mapping)
            and all(isinstance(v, Variant) and are_texts(v.DEVIATIONS) for v in variants.values()),
        ),
    }
    for name, (kind, holds) in requirements.items():
        if not holds:
            raise Missing(f"{framework}: {name} in {place} must be {kind}")
    return module
