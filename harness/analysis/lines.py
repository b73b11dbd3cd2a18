"""A line of the acceleration table: a contender in a cell, and all that is known of it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import nan

from harness.analysis.proved import Standing
from harness.records.fields import Place
from harness.spec import contender

FEWEST_RANKED = 5  # rounds; a figure of fewer is preliminary


@dataclass(frozen=True, kw_only=True)
class Acceleration:
    """A line of the acceleration table: a contender in a cell. Its fields are the columns.

    A figure of the rounds is NaN, and an interval's method empty, where there were none.
    """

    dataset: str
    scale: str
    framework: str
    variant: str
    mode: str
    precision: str
    device: str
    T: int
    batch_size: int
    rank: int | None = None  # among those of the cell and precision (ranks.py)
    seconds_per_iteration: float = nan  # median over the rounds
    seconds_per_epoch: float = nan  # that times the iterations of an epoch
    ratio_to_floor: float = nan  # of the same precision; geometric mean over the rounds
    ratio_low: float = nan
    ratio_high: float = nan
    interval: str = ""  # how it was made: student or none (speed/ratios.py)
    ratio_to_fp32_floor: float = nan
    ratio_to_fp32_floor_low: float = nan
    ratio_to_fp32_floor_high: float = nan
    speedup_vs_reference: float = nan  # of the same precision
    speedup_low: float = nan
    speedup_high: float = nan
    peak_memory_mib: float
    memory_note: str  # why there is no such figure
    spike_rate: float = nan
    certificate: str = ""
    standing: Standing = "none"  # what the certificate says, as data; no column
    proved: tuple[str, ...] = ()  # the precisions it was proved equal in; no column
    lacks: tuple[str, ...] = ()  # what a rank would need; no column
    exam: int = 0  # the number of the exam; 0: none was taken
    exam_inputs: int = 0  # the largest number of inputs that an exam took
    audit: str = ""  # of what was timed: direct, replay, or not at all
    mismatch_rate: float = nan  # spikes that differ, of those compared, in this precision
    gradient_cosine: float = nan  # to float32's, the lowest over the layers; of bf16 alone
    protocol: int  # the number of the protocol it was timed by
    rounds: int = 0
    part: float = nan  # of an iteration that was run, where not all: the seconds are scaled
    first_over_second: float = nan  # seconds of the first round over those of the second
    warmup_seconds: float
    # Of a compiled form what its first iteration took; of a runtime of its own what came before.
    compile_seconds: float
    noise_low: float = nan  # interval of the A/A ratio of the cell
    noise_high: float = nan
    network: str
    neunorm: str
    width: str
    seed: int
    layout: str
    computed: str  # how its layers were, where it chooses
    implementation: str
    allocator: str
    data_source: str
    simulated: bool = False  # its events were computed from images; no column
    substitute: bool = False  # other data stand in for those asked for; no column
    threads: int
    cpu: str
    capability: str  # the instructions that torch used
    gpu: str
    torch: str
    framework_version: str
    run: str
    reason: str = ""  # why it has no rank

    @property
    def place(self) -> Place:
        """The machine it was timed on."""
        return Place(self.cpu, self.capability, self.gpu, self.threads)

    @property
    def cell(self) -> tuple[object, ...]:
        """What it was timed in, with whom it may be compared."""
        size = (self.dataset, self.scale, self.network, self.neunorm, self.width, self.seed)
        return self.run, self.place, *size, self.mode, self.device, self.T, self.batch_size

    @property
    def in_figure_3(self) -> bool:
        """Whether it ran in a cell of Fig. 3: full width, T = 10, no NeuNorm."""
        return (self.mode, self.T, self.width, self.neunorm) == ("training", 10, "1", "")

    @property
    def of_figure_3(self) -> bool:
        """Whether it is of Fig. 3: there, and no variant."""
        return self.in_figure_3 and not self.variant

    @property
    def preliminary(self) -> bool:
        """Whether it was timed in fewer rounds than are ranked."""
        return 0 < self.rounds < FEWEST_RANKED

    @property
    def name(self) -> str:
        """The contender in a word: "norse:compiled bf16"; float32 is not said."""
        form = contender(self.framework, self.variant)
        return form if self.precision == "fp32" else f"{form} {self.precision}"


_NO_COLUMNS = ("standing", "proved", "lacks", "simulated", "substitute")
COLUMNS = tuple(field.name for field in fields(Acceleration) if field.name not in _NO_COLUMNS)
