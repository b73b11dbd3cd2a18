"""NIR files that are damaged or of other networks: one sentence with the node and the reason."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rows import altered

nir = pytest.importorskip("nir", reason="pip install 'snn-harness[nir]'")
h5py = pytest.importorskip("h5py")  # which nir brings

from harness import api, formats  # noqa: E402
from harness.cli.app import call  # noqa: E402
from harness.conformance import small  # noqa: E402
from harness.formats import nir_file, weights  # noqa: E402
from harness.proof import check  # noqa: E402
from harness.reference.network import ReferenceNetwork  # noqa: E402
from harness.spec import ANN, Network, NetworkFile, Options, UsageError  # noqa: E402
from harness.suites import SUITES  # noqa: E402

Change = Callable[[Any], object]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of a small network with NeuNorm."""
    network, path = small("cifar10", neunorm="mean"), tmp_path / "network.nir"
    torch.manual_seed(0)
    nir_file.write(path, network, list(ReferenceNetwork(network).parameters()))
    return path


def refusal(path: Path) -> str:
    """The sentence that a file is refused with."""
    with pytest.raises(UsageError) as refused:
        nir_file.read(str(path))
    sentence = str(refused.value)
    assert path.name in sentence and "\n" not in sentence and len(sentence) < 1000
    return sentence


def put(node: str, **fields: Any) -> Change:
    """Other fields of a node, or of one in a subgraph."""

    def change(graph: Any) -> None:
        for name in node.split("/"):
            graph = graph.nodes[name]
        for name, value in fields.items():
            there = np.asarray(getattr(graph, name))
            number = isinstance(value, int | float) and there.ndim > 0
            setattr(graph, name, np.full_like(there, value) if number else value)

    return change


def once(node: str, field: str, value: float) -> Change:
    """Another number in one place."""

    def change(graph: Any) -> None:
        getattr(graph.nodes[node], field).flat[0] = value

    return change


def becomes(node: str, other: Any) -> Change:
    return lambda graph: graph.nodes.update({node: other})


def edges(*more: tuple[str, str], without: tuple[str, str] | None = None) -> Change:
    def change(graph: Any) -> None:
        graph.edges = [*(edge for edge in graph.edges if edge != without), *more]

    return change


def says(**metadata: Any) -> Change:
    return lambda graph: graph.metadata.update(metadata)


def circle(graph: Any) -> None:
    """A node that leads to itself alone."""
    becomes("more", nir.Scale(MAPS))(graph)
    edges(("more", "more"))(graph)


TWO = np.array([2, 2])
MAPS = np.ones((32, 16, 16))
BARE = ("input", "sum", "x", "spread", "minus_u", "join", "output")  # the spikes go nowhere else
OTHERS = [
    (put("02b_lif", r=1.0), "'02b_lif' .LIF. has r 1, the paper's network has 1.33333"),
    (put("01b_lif", tau=float("nan")), r"has tau \[nan\]"),
    (once("02b_lif", "tau", 0.5), "has tau 0.5"),
    (put("01b_lif", v_threshold=-1), "v_th is -1"),
    (becomes("02c_pool", nir.SumPool2d(TWO, TWO, TWO)), "SumPool2d. is not of the paper's"),
    (put("02a_conv", padding=(0, 0)), "has padding 0"),
    (put("03b_affine", weight=np.ones((4, 4, 3))), r"\(4, 4, 3\), expected floats of 2 dim"),
    (put("02a_conv", bias=np.ones(5)), r"2.bias is of shape \(5,\)"),
    (once("02a_conv", "weight", float("nan")), "has in weight 1 of 4,608 numbers NaN or infinite"),
    (put("00_input", input_type={"input": np.array([3, 32])}), r"expected \(C, H, W\)"),
    (put("04a_affine", bias=np.ones(7)), r"4.bias is of shape \(7,\)"),
    (put("01d_neunorm/join", scale=0.5), "'01d_neunorm/join' .Scale. has scale 0.5"),
    (put("01d_neunorm/x", r=0.5), "'01d_neunorm/x' .LI. has r 0.5"),
    (put("01d_neunorm", edges=[*pairwise(BARE)]), "is a subgraph that is not NeuNorm"),
    (edges(("03c_lif", "03c_lif")), "'03c_lif' .LIF. has 2 nodes before it and 2 after it"),
    (edges(without=("03c_lif", "04a_affine")), "'03c_lif' .* 1 nodes before it and 0 after it"),
    (edges(("nowhere", "02a_conv")), "'02a_conv' .Conv2d. has 2 nodes before it"),
    (circle, "not one chain"),
    (says(dt=0.0), "metadata's dt is 0"),
    (says(tie="never"), "metadata's tie is never"),
    (says(classes=7), "100 voting neurons are no multiple of 7 classes"),
]


@pytest.mark.parametrize(("change", "sentence"), OTHERS, ids=[text[:40] for _, text in OTHERS])
def test_other_networks_are_named_by_their_node(change: Change, sentence: str, path: Path) -> None:
    graph = nir.read(path)
    change(graph)
    path.unlink()
    nir.write(path, graph)
    assert re.search(sentence, refusal(path))


def test_a_file_of_a_newer_nir_is_not_only_called_damaged(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file["node/nodes/01b_lif/later"] = 1.0  # a field that this nir does not know
    assert f"written by a newer nir than the installed {nir.version}" in refusal(path)


def test_what_is_cut_short_or_no_file_is_named(path: Path) -> None:
    whole = path.read_bytes()
    for share in (0, 0.3, 0.999):
        path.write_bytes(whole[: int(share * len(whole))])
        assert "is no NIR file, a damaged one, or" in refusal(path)
    path.unlink()
    with pytest.raises(UsageError, match="there is no such file"):
        formats.read_networks([str(path)])


def test_a_file_of_another_simulator_is_taken_where_it_is_this_neuron(path: Path) -> None:
    graph = nir.read(path)
    graph.metadata = {}
    for name in ("01b_lif", "02b_lif", "03c_lif", "04b_lif"):
        node = graph.nodes[name]
        for field in ("tau", "r", "v_leak", "v_reset", "v_threshold"):  # one number for all, fp32
            setattr(node, field, np.float32(getattr(node, field).ravel()[:1]))
    path.unlink()
    nir.write(path, graph)
    file = nir_file.read(str(path))
    assert file.network.lif.k_tau == 0.25 and not file.has_a
    # NIR's neuron fires above its threshold
    assert file.network.lif.v_th == float(np.nextafter(np.float32(0.75), np.float32(1)))
    assert file.network.neunorm == small("cifar10", neunorm="mean").neunorm
    assert str(file.network) == str(small("cifar10"))


# and as the networks of a run


def file_of(network: Network, *, has_a: bool = True) -> Options:
    file = NetworkFile("x.nir", network, "0" * 64, has_a, b"")
    names: dict[str, Any] = {"networks": ("x.nir",), "datasets": ("cifar10",)}
    return Options(**names, suite="scale", frameworks=("fused",), files=(file,), device="cpu")


def test_a_suite_takes_structure_neuron_and_weights_from_the_file() -> None:
    network = small("cifar10", neunorm="literal")
    for suite in ("acceleration", "scale", "neunorm", "timesteps", "ablations"):
        cases = SUITES[suite].cases(file_of(network))
        assert cases
        for case in cases:
            workload = case.workload
            assert (workload.weights_sha256, workload.scale) == ("0" * 64, "custom")
            assert workload.width == 1 and workload.network.neunorm == network.neunorm
            assert str(workload.network) == str(network)
        assert {case.workload.network.lif for case in cases} >= {network.lif}
        assert len(set(cases)) == len(cases) or suite == "neunorm"


@pytest.mark.parametrize("name", ["init", "neunorm_u", "neunorm"])
def test_what_a_file_has_itself_is_no_option(name: str) -> None:
    value: Any = {"init": "torch", "neunorm_u": 0.5, "neunorm": "mean"}[name]
    options = replace(file_of(small("cifar10", neunorm="mean")), **{name: value})
    with pytest.raises(UsageError, match=f"has its own: leave --{name.replace('_', '-')} out"):
        SUITES["scale"].cases(options)


def test_its_ann_has_neither_its_neunorm_nor_its_weights() -> None:
    options = replace(file_of(small("cifar10", neunorm="mean")), frameworks=("fused", ANN))
    cases = SUITES["accuracy"].cases(options)
    have = {
        (
            case.contender.framework == ANN,
            bool(case.workload.network.neunorm),
            bool(case.workload.weights_sha256),
        )
        for case in cases
    }
    assert have == {(False, True, True), (True, False, False)}


def test_an_ablation_of_a_file_draws_no_weights() -> None:
    cases = SUITES["ablations"].cases(file_of(small("cifar10")))
    assert {case.workload.initialisation for case in cases} == {"calibrated"}
    assert len({altered(case, seed=0) for case in cases}) == len(cases) / 3  # none is there twice


def test_a_file_without_a_surrogate_gets_that_of_the_data_set() -> None:
    network = small("cifar10")
    wide = replace(network, lif=replace(network.lif, a=7.0))
    (case,) = SUITES["acceleration"].cases(file_of(wide, has_a=False))[:1]
    assert case.workload.network.lif == network.lif
    (case,) = SUITES["acceleration"].cases(file_of(wide))[:1]
    assert case.workload.network.lif.a == 7.0


FITS = {
    r"of inputs \(2, 34, 34\), CIFAR-10 has \(3, 32, 32\)": file_of(small("nmnist")),
    "has 5 classes, CIFAR-10 has 10": file_of(replace(small("cifar10"), classes=5)),
    "leave --width out": replace(file_of(small("cifar10")), width=Fraction(1, 8)),
    "leave --neunorm out": replace(file_of(small("cifar10")), neunorm="mean"),
}


@pytest.mark.parametrize("sentence", FITS, ids=["inputs", "classes", "width", "NeuNorm"])
@pytest.mark.parametrize("suite", ["acceleration", "scale", "energy"])
def test_a_file_that_does_not_fit_is_one_sentence(suite: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        SUITES[suite].cases(FITS[sentence])


@pytest.mark.usefixtures("no_data_of_the_machine")
def test_export_takes_weights_and_tie_and_a_run_keeps_the_files_weights(
    inside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = small("nmnist")
    content = weights.encode(network, ReferenceNetwork(network).parameters())
    stored = weights.path_of(inside, weights.keep(inside, content))
    words = ["export", "Small", "--dataset", "nmnist", "--width", "1/8", "--weights", str(stored)]
    assert call(*words, "--fires", "above", "--to", "small.nir") == 0
    (file,) = formats.read_networks(["small.nir"])
    assert (file.network, file.weights) == (network, content)
    neuron = nir.read(inside / "small.nir").nodes["01b_lif"]
    assert neuron.v_threshold.flat[0] == nir_file.float32_below(network.lif.v_th)
    monkeypatch.setattr(api, "executor", lambda *_: None)
    cell: dict[str, Any] = {"networks": "small.nir", "datasets": "nmnist", "device": "cpu"}
    options = Options.parse(
        suite="acceleration", frameworks="reference", out=inside / "out", **cell
    )
    (sha256,) = {case.workload.weights_sha256 for case in api.Work.prepare(options, ()).cases}
    assert sha256
    weights.load_kept(inside / "out", sha256, network)  # it is there, whole


def test_check_examines_a_file_once_with_its_own_neunorm(tmp_path: Path) -> None:
    selection = file_of(small("cifar10", neunorm="literal"))
    scope = replace(selection, data_root=tmp_path)
    (adapter,) = check.prove_adapters(("reference",), scope, lambda *_: None)
    named = [(proof.named, proof.certificate.passed) for proof in adapter.proofs]
    assert named == [(f"CIFAR-10 {small('cifar10')} NeuNorm literal", True)] * 2


def test_an_older_nir_reads_a_file_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, read = nir_file.read(str(path)), nir.read
    monkeypatch.setattr(nir, "read", lambda filename: read(filename))  # as nir 1.0.4 has it
    assert nir_file.read(str(path)).network == expected.network
