"""How frameworks are found, and what is said of those that are not there."""

from __future__ import annotations

import importlib
import re
from importlib import metadata
from pathlib import Path

import pytest

import adapters
from harness.adapter import Adapter
from harness.spec import UsageError


def test_a_file_is_a_framework() -> None:
    files = {path.stem for path in Path(adapters.__file__).parent.glob("*.py")}
    assert set(adapters.names()) == files - {"__init__"}


@pytest.mark.parametrize("name", adapters.available())
def test_the_plain_form_claims_to_be_the_papers_function_and_variants_do_not(name: str) -> None:
    assert isinstance(adapters.load(name), Adapter)
    assert adapters.load(name).DEVIATIONS == ()
    assert all(variant.DEVIATIONS for variant in adapters.variants_of(name).values())


def test_an_unknown_framework_or_variant_names_those_there_are() -> None:
    with pytest.raises(UsageError, match="unknown framework 'bindsnet', choose from .*reference"):
        adapters.load("bindsnet")
    with pytest.raises(UsageError, match="reference has: channels-last, compiled"):
        adapters.load("reference:fast")


def test_a_framework_that_is_not_installed_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(importlib, "import_module", absent)
    reason = adapters.missing("norse")
    assert reason is not None
    assert "pip install 'snn-harness[norse]'" in reason
    assert adapters.available() == []


class Point:
    """An entry point as an installed package declares it."""

    name, value = "elsewhere", "elsewhere_pkg.adapter"

    class dist:
        name, version = "elsewhere-pkg", "3.1"

    def __init__(self, module: object) -> None:
        self.module = module

    def load(self) -> object:
        if self.module is None:
            raise ImportError("No module named 'elsewhere_pkg'")
        return self.module


def declare(monkeypatch: pytest.MonkeyPatch, module: object) -> None:
    monkeypatch.setattr(adapters, "_installed", lambda: {"elsewhere": Point(module)})


def test_an_installed_package_offers_an_adapter_by_entry_point(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from adapters import reference

    declare(monkeypatch, reference)
    assert "elsewhere" in adapters.names()
    assert adapters.load("elsewhere") is reference
    assert adapters.version("elsewhere") == "3.1"


def test_an_entry_point_that_does_not_load_names_its_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    declare(monkeypatch, None)
    with pytest.raises(adapters.Missing, match="pip install elsewhere-pkg"):
        adapters.load("elsewhere")


def test_an_entry_point_that_is_no_adapter_is_said_to_be_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    declare(monkeypatch, re)
    with pytest.raises(adapters.Missing, match="must define DEVIATIONS and build"):
        adapters.load("elsewhere")


def test_frameworks_are_pinned_exactly() -> None:
    requirements = metadata.requires("snn-harness") or []
    for framework in ("snntorch", "spikingjelly", "norse"):
        assert any(re.match(rf"{framework}==\d", each) for each in requirements)
    assert adapters.version("norse") == metadata.version("norse")
    assert adapters.version("reference") is None
