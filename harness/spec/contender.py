"""A contender: a framework, at a version, as a variant or in a form, and how its name is parsed.

A name is `FRAMEWORK[@VERSION][:VARIANT|:FORM]`: "norse", "norse@1.0.0", "snntorch:subtract",
"norse:compiled".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, cast, get_args

Precision = Literal["fp32", "fp64", "bf16"]
# What a skilled user switches on without changing the function. bf16 autocast is a precision.
Form = Literal["channels-last", "compiled"]
FORMS: tuple[Form, ...] = get_args(Form)
ANN = "ann"  # the "framework" of the network of the same structure without spikes (Table 5)
MASKED_ANN = "ann:masks"  # the same, trained on T masks of dropout an image, averaged
FLOOR = "floor"  # a cell's convolutions and products alone, which all ratios are to
REFERENCE = "reference"  # the contender whose time is the yardstick of speedups


@dataclass(frozen=True)
class Contender:
    """A framework at a version, as a variant or in a form, in a precision."""

    framework: str  # an adapter's name, a baseline's, ANN or FLOOR
    version: str | None = None  # a release or a folder; None: what is installed
    variant: str | None = None  # another function than the adapter's plain one, by its name there
    form: Form | None = None  # the same function, run in another way
    precision: Precision = "fp32"

    @classmethod
    def parse(cls, name: str, precision: Precision = "fp32") -> Contender:
        """Parse a name, whatever it names: `adapters.check_name` says whether that is there."""
        place, _, last = name.partition(":")
        framework, mark, version = place.partition("@")
        form = cast("Form", last) if last in FORMS else None
        variant = last if last and form is None else None
        return cls(framework, version if mark else None, variant, form, precision)

    @property
    def package(self) -> str:
        """The framework with its version, as a process loads it: "norse@1.0.0"."""
        return self.framework if self.version is None else f"{self.framework}@{self.version}"

    @property
    def suffix(self) -> str | None:
        """The variant or the form, None where there is neither."""
        return self.variant or self.form

    @property
    def name(self) -> str:
        """The name that `parse` reads, without the precision."""
        return f"{self.package}:{self.suffix}" if self.suffix else self.package

    @property
    def full_name(self) -> str:
        """The name and the precision, "norse:compiled bf16"; float32 is left out."""
        return self.name + ("" if self.precision == "fp32" else f" {self.precision}")

    @property
    def plain(self) -> Contender:
        """The framework as its adapter has it, neither variant nor form."""
        return replace(self, variant=None, form=None)
