"""The suites that train: their sizes as tables, and what each of them trains."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product
from typing import get_args

from harness.spec import (
    ANN,
    BIN_US,
    MASKED_ANN,
    SGD,
    Contender,
    Initialisation,
    Loss,
    Options,
    Precision,
    Reading,
    Sampling,
    Training,
    UsageError,
    paper,
    schedule,
)

FRAMEWORKS = ("fused",)
STEPS = (1, 2, 4, 8)  # Fig. 5's
# Steps and bins of longer windows: a third of a recording, and all of it in as many frames.
LONGER = ((20, BIN_US), (10, 6 * BIN_US))
LONG_ABLATIONS = 20_000  # samples: not all images, since so many networks are compared
# The paper's network that is trained where none is named, and compared with baselines.
USUAL = {"cifar10": "CIFARNet", "nmnist": "OurModel", "dvs-cifar10": "OurModel"}
TABLE_2 = {row.name.lower() for row in paper.NETWORKS if row.table == 2}


@dataclass(frozen=True)
class Size:
    """The size of trainings on one data set; None: all samples; Table 7's epochs or dropout."""

    width: Fraction
    steps: int  # T, which the paper does not print for its accuracies
    epochs: int | None
    samples: int | None
    test_samples: int | None
    batch_size: int = 20  # not printed in the paper either
    seeds: tuple[int, ...] = (0, 1, 2)
    dropout: float | None = 0.0
    embedded: bool = False
    simulated: bool = False  # events are simulated even if some recordings are there
    staged: bool = False  # its schedule is `spec.schedule.STAGES`
    precision: Precision = "fp32"


# --quick: the embedded digits, minutes on two cores. --paper: the paper's size, T as in its
# authors' later code. The default: real data, an hour or so for each suite on two cores; what is
# trained has not converged by then. --long: all images, as many recordings as the paper has or as
# tell a point, on the schedule that was fixed for our verdicts: hours. What is reduced goes
# without dropout: with half of the 16 maps of a layer dropped at each step, in all seven layers, an
# eighth of CIFARNet stays at chance.
EIGHTH = Fraction(1, 8)
QUICK_STATIC = Size(EIGHTH, 2, 6, 1_000, 150, seeds=(0,), embedded=True)
QUICK_EVENTS = Size(EIGHTH, 6, 4, 400, 150, seeds=(0,), embedded=True)
STATIC = Size(EIGHTH, 4, 15, 5_000, 1_000)
EVENTS = Size(EIGHTH, 10, 10, 1_000, 1_000)
NMNIST = replace(EVENTS, seeds=(0, 1, 2, 3, 4))  # is small enough for more
LONG_STATIC = Size(EIGHTH, 4, None, None, None, staged=True, precision="bf16")
# Ten times the paper's test samples, where they are simulated: 1,000 leave a pair 1.7 points open.
LONG_DVS = replace(LONG_STATIC, steps=10, test_samples=10_000)
LONG_NMNIST = replace(LONG_STATIC, steps=10, samples=20_000, simulated=True)
PAPER_STATIC = Size(Fraction(1), 5, None, None, None, 100, dropout=None, precision="bf16")
PAPER_EVENTS = replace(PAPER_STATIC, steps=10)

SIZES = {
    "quick": {"cifar10": QUICK_STATIC, "nmnist": QUICK_EVENTS, "dvs-cifar10": QUICK_EVENTS},
    "long": {"cifar10": LONG_STATIC, "nmnist": LONG_NMNIST, "dvs-cifar10": LONG_DVS},
    "paper": {"cifar10": PAPER_STATIC, "nmnist": PAPER_EVENTS, "dvs-cifar10": PAPER_EVENTS},
    "default": {"cifar10": STATIC, "nmnist": NMNIST, "dvs-cifar10": EVENTS},
}


def size_of(options: Options, dataset: str) -> Size:
    """Return the size of trainings on a data set under --quick, --long, --paper or none."""
    chosen = [name for name in ("quick", "long", "paper") if getattr(options, name)]
    return SIZES[chosen[0] if chosen else "default"][dataset]


@dataclass(frozen=True)
class TrainingSpec:
    """One training of a suite, before the command line's choices and the seeds."""

    dataset: str
    network: str  # a name or a notation
    T: int | None = None  # None: as usual for the data set
    neunorm: Reading | None = None
    framework: str | None = None  # None: those that the command line chose
    tested_at: tuple[int, ...] = ()
    bin_us: int = BIN_US


def scale(options: Options) -> tuple[Training, ...]:
    """Fig. 4: accuracy of the Small, Middle and Large networks of Table 1."""
    places = product(options.datasets or ("cifar10", "nmnist"), options.networks or paper.SCALES)
    return _cases(options, (TrainingSpec(*place, neunorm=options.reading) for place in places))


def timesteps(options: Options) -> tuple[Training, ...]:
    """Fig. 5: accuracy on CIFAR-10 against the number of steps T, in training and in testing."""
    steps = options.steps or STEPS
    grid = product(_one_network(options), steps)
    return _cases(options, (TrainingSpec(*p, T, options.reading, tested_at=steps) for p, T in grid))


def neunorm(options: Options) -> tuple[Training, ...]:
    """NeuNorm off, and on by both readings: accuracy, speed of convergence, Fig. 6's confusion."""
    on = get_args(Reading) if options.neunorm is None else filter(None, (options.reading,))
    grid = product(_one_network(options), (None, *on))
    return _cases(options, (TrainingSpec(*p, neunorm=reading) for p, reading in grid))


def accuracy(options: Options) -> tuple[Training, ...]:
    """Our rows of Tables 3 to 6: the networks of Table 2, without and with NeuNorm, and the ANN.

    Another network that is named is trained on CIFAR-10 in the same ways. `--long` adds N-MNIST
    over longer windows: the usual T bins are a sixth of a recording.
    """
    named = options.networks and [name.lower() for name in options.networks]
    others = [name for name in options.networks or () if name.lower() not in TABLE_2]
    images = [("cifar10", network) for network in ("CIFARNet", "AlexNet", *others)]
    places = ("nmnist", "OurModel"), *images, ("dvs-cifar10", "OurModel")
    readings: list[Reading | None] = [None]
    if options.neunorm != "off":
        readings.append(options.reading or "mean")
    specs = [TrainingSpec(*place, neunorm=reading) for place in places for reading in readings]
    anns = [name for name in options.frameworks or () if name in (ANN, MASKED_ANN)]
    specs += [TrainingSpec(*place, framework=name) for place in images for name in anns]
    if options.long:
        specs += [TrainingSpec("nmnist", "OurModel", T=T, bin_us=bin_us) for T, bin_us in LONGER]
    return _cases(
        options, (spec for spec in specs if named is None or spec.network.lower() in named)
    )


def ablations(options: Options) -> tuple[Training, ...]:
    """Train with one choice of ours or of frameworks changed at a time: what each costs."""
    if options.long:
        options = replace(options, samples=options.samples or LONG_ABLATIONS)
    specs = (TrainingSpec(*place, neunorm=options.reading) for place in _one_network(options))
    cases = [replace(case, may_deviate=True) for case in _cases(options, specs)]
    changed = (change(case) for case in cases for change in ABLATIONS.values())
    return tuple(dict.fromkeys(changed))  # one of the two precisions is that of the first


SUITES = (timesteps, scale, neunorm, accuracy, ablations)


def name_in(suite: str, dataset: str, network: str) -> str:
    """Return what a suite calls a network: of still images, Large of Table 1 is CIFARNet of 2."""
    if not paper.settings(dataset).static:
        return network
    names = {"CIFARNet": "Large"} if suite == scale.__name__ else {"Large": "CIFARNet"}
    return names.get(network, network)


def _one_network(options: Options) -> list[tuple[str, str]]:
    """Return data sets and the networks named, else CIFARNet and its like for events."""
    return [
        (dataset, network)
        for dataset in options.datasets or ("cifar10",)
        for network in options.networks or (USUAL.get(dataset, ""),)
    ]


def _cases(options: Options, specs: Iterable[TrainingSpec]) -> tuple[Training, ...]:
    """Return the cases of a suite that trains, all trainings of one seed before the next seed.

    Raises UsageError for an unknown data set or network, for what only timing knows, and for the
    paper's size on a CPU.
    """
    options.refuse("inference", "tuned", why="trains")
    if options.paper and options.device != "cuda":
        raise UsageError(
            "--paper trains at the paper's size, which takes months on a CPU: "
            "use --device cuda where there is one, or leave --paper out"
        )
    for name in options.datasets or ():
        paper.settings(name)
    specs = [s for s in specs if options.datasets is None or s.dataset in options.datasets]
    cases = [case for spec in specs for case in _of_spec(options, spec)]
    if not cases:
        names = ", ".join((*(options.networks or ()), *(options.datasets or ())))
        raise UsageError(
            f"the {options.suite} suite has nothing on {names}: choose others, or leave it out"
        )
    return tuple(sorted(cases, key=lambda case: case.workload.seed))


def _of_spec(options: Options, spec: TrainingSpec) -> Iterator[Training]:
    """Yield the trainings of a specification, with the command line's choices, for each seed."""
    size, settings = size_of(options, spec.dataset), paper.settings(spec.dataset)
    usual = settings.dropout if size.dropout is None else size.dropout
    dropout = usual if options.dropout is None else options.dropout
    if spec.framework == MASKED_ANN and not dropout:
        raise UsageError(f"{MASKED_ANN} without dropout is {ANN}: give --dropout, for example 0.5")
    chosen = options.network(spec.network, spec.dataset, neunorm=spec.neunorm, width=size.width)
    network = replace(chosen.network, dropout=dropout)
    steps = (spec.T,) if spec.T else options.steps or (size.steps,)
    if network.neunorm and not chosen.weights_sha256:
        u = schedule.U if options.neunorm_u is None else options.neunorm_u
        neunorm = replace(network.neunorm, u=None if u == "uniform" else u)
        network = replace(network, neunorm=neunorm)
    numbers = options.epochs or ()
    stages = numbers or schedule.STAGES[spec.dataset] if size.staged or len(numbers) > 1 else ()
    epochs = sum(stages or numbers) or size.epochs or settings.epochs
    sampling = Sampling(
        train=options.samples or size.samples, test=size.test_samples, embedded=size.embedded,
        bin_us=spec.bin_us, simulated=size.simulated,
    )  # fmt: skip
    spiking = [name for name in options.frameworks or () if name not in (ANN, MASKED_ANN)]
    frameworks = (spec.framework,) if spec.framework else spiking
    optimiser = schedule.optimiser(spec.dataset)
    if options.rate is not None:
        optimiser = replace(optimiser, lr=options.rate)
    chosen = replace(chosen, network=network)
    if spec.framework in (ANN, MASKED_ANN):  # it has neither NeuNorm nor a file's weights
        chosen = replace(chosen, network=replace(network, neunorm=None), weights_sha256=None)
    for seed, T, framework in product(options.seeds or size.seeds, steps, frameworks):
        workload = chosen.on(
            spec.dataset, T=T, batch_size=options.batch_size or size.batch_size, seed=seed,
            initialisation=options.init,
        )  # fmt: skip
        yield Training(
            suite=options.suite, workload=workload, device=options.device, optimiser=optimiser,
            contender=Contender.parse(framework, options.precision or size.precision),
            sampling=sampling, epochs=epochs, tested_at=spec.tested_at, stages=stages,
        )  # fmt: skip


Change = Callable[[Training], Training]


def _change(
    *, a: float = 1.0, v_th: float = 1.0, loss: Loss | None = None, rate: float = 1.0,
    fc_factor: float | None = None, variant: str | None = None,
    precision: Precision | None = None, initialisation: Initialisation | None = None,
) -> Change:  # fmt: skip
    """Return a change that multiplies surrogate width `a`, threshold and SGD's learning rate.

    Adam divides each gradient by its size, and keeps its rate. A file's weights stay.
    """

    def change(case: Training) -> Training:
        """Return a training with that change."""
        workload, contender, optimiser = case.workload, case.contender, case.optimiser
        if isinstance(optimiser, SGD):
            fc = fc_factor or optimiser.fc_factor
            optimiser = replace(optimiser, lr=optimiser.lr * rate, fc_factor=fc)
        lif = workload.network.lif
        lif = replace(lif, a=lif.a * a, v_th=lif.v_th * v_th)
        workload = replace(workload, network=replace(workload.network, lif=lif))
        if initialisation and not workload.weights_sha256:
            workload = replace(workload, initialisation=initialisation)
        contender = replace(contender, precision=precision or contender.precision)
        if variant:
            contender = replace(contender, variant=variant, form=None)
        return replace(
            case, workload=workload, contender=contender, optimiser=optimiser,
            loss=loss or case.loss,
        )  # fmt: skip

    return change


def _with_steps_as_long(case: Training) -> Training:
    """Cross-entropy of the spikes, at a rate that takes steps of SGD about as long as eq. (11)'s.

    By a class's spikes n of N = T population neurons, eq. (11) has the gradient 2 (n/N - y) / (K N)
    and cross-entropy p - y: the rate is that of eq. (11) times 2 / (K N).
    """
    network = case.workload.network
    shorter = 2 / (network.classes * network.population * case.workload.T)
    return _change(loss="cross-entropy", rate=shorter)(case)


def _adam(lr: float) -> Change:
    """Adam at another rate than is usual; what SGD trains, and what is changed, stays as it is."""

    def change(case: Training) -> Training:
        """Return a case with Adam's rate replaced; unchanged if its optimiser is another."""
        usual = schedule.optimiser(case.workload.dataset)
        if isinstance(usual, SGD) or case.optimiser != usual:
            return case
        return replace(case, optimiser=replace(usual, lr=lr))

    return change


VOTES: Loss = "cross-entropy of votes"
AS_IT_IS = "as the others are trained"
ABLATIONS: Mapping[str, Change] = {  # by what is changed, in words
    AS_IT_IS: _change(),
    "float32": _change(precision="fp32"),
    "bf16": _change(precision="bf16"),
    "surrogate half as wide": _change(a=0.5),
    "surrogate twice as wide": _change(a=2.0),
    "threshold halved": _change(v_th=0.5),
    "threshold doubled": _change(v_th=2.0),
    # calibrated weights are halved with the threshold: here it is halved alone
    "threshold halved, the usual weights": _change(v_th=0.5, initialisation="twice-v_th"),
    "PyTorch's initial weights": _change(initialisation="torch"),
    "no gradient through the reset": _change(variant="detached-reset"),
    "cross-entropy of the spikes": _change(loss="cross-entropy"),
    "cross-entropy of the spikes, steps as long": _with_steps_as_long,
    "cross-entropy of the votes": _change(loss=VOTES),
    # rates that are searched for it
    "cross-entropy of the spikes, rate / 10": _change(loss="cross-entropy", rate=0.1),
    "cross-entropy of the spikes, rate / 50": _change(loss="cross-entropy", rate=0.02),
    "cross-entropy of the votes, rate / 4": _change(loss=VOTES, rate=0.25),
    "cross-entropy of the votes, rate / 16": _change(loss=VOTES, rate=0.0625),
    # as in the authors' public code for CIFAR-10; the paper does not mention it
    "fully connected layers at a tenth of the rate": _change(fc_factor=0.1),
    **{f"Adam at {lr:g}": _adam(lr) for lr in (1e-3, 3e-4, 1e-4)},
}
