"""NIR files that are broken, hostile or of other networks: one sentence each, and nothing runs."""

from __future__ import annotations

import os
import random
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

h5py = pytest.importorskip("h5py", reason="needs h5py: pip install 'snn-harness[nir]'")
pytest.importorskip("safetensors", reason="pip install 'snn-harness[nir]'")

from harness.conformance import small  # noqa: E402
from harness.formats import apart, hdf5, nir_in, nir_out  # noqa: E402
from harness.reference.network import ReferenceNetwork  # noqa: E402
from harness.spec import Network, UsageError  # noqa: E402
from harness.system.former_child import Ends  # noqa: E402

NODES = "node/nodes"
NORM = f"{NODES}/01d_neunorm/nodes"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of a small network with NeuNorm."""
    return exported(small("cifar10", neunorm="mean"), tmp_path / "network.nir")


def exported(network: Network, path: Path) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        drawn = list(ReferenceNetwork(network).parameters())
    nir_out.write(path, network, drawn)
    return path


def refusal(path: Path) -> str:
    """The sentence that a file is refused with."""
    with pytest.raises(UsageError) as refused:
        nir_in.read(path)
    said = str(refused.value)
    assert path.name in said and "\n" not in said and len(said) < 1000
    return said


def put(place: str, value: object) -> Callable[[Any], None]:
    """Replaces a dataset."""

    def change(file: Any) -> None:
        if place in file:
            del file[place]
        file.create_dataset(place, data=value)

    return change


def remove(place: str) -> Callable[[Any], None]:
    def change(file: Any) -> None:
        del file[place]

    return change


def filled(place: str, value: float) -> Callable[[Any], None]:
    """Another number in all of a dataset."""

    def change(file: Any) -> None:
        file[place][...] = value

    return change


def once(place: str, value: float) -> Callable[[Any], None]:
    """Another number in one place of a dataset."""

    def change(file: Any) -> None:
        found = file[place][()]
        found.flat[0] = value
        file[place][...] = found

    return change


def edges(
    *changed: tuple[str, str], without: tuple[str, str] | None = None
) -> Callable[[Any], None]:
    """More edges, or fewer."""

    def change(file: Any) -> None:
        there = [(a.decode(), b.decode()) for a, b in file["node/edges"][()]]
        kept = [list(each) for each in (*there, *changed) if each != without]
        del file["node/edges"]
        file["node"].create_dataset("edges", data=kept, dtype=h5py.string_dtype())

    return change


def becomes(place: str, type: str) -> Callable[[Any], None]:
    return put(f"{place}/type", type)


OTHERS = [
    (filled(f"{NODES}/02b_lif/r", 1.0), r"'02b_lif' \(LIF\) has r 1, expected tau / dt = 1.33333"),
    (
        filled(f"{NODES}/02b_lif/v_reset", 0.1),
        "'02b_lif' .LIF. has v_reset 0.1: the paper's neuron",
    ),
    (filled(f"{NODES}/02b_lif/v_leak", 0.1), "has v_leak 0.1: the paper's neuron rests at 0"),
    (filled(f"{NODES}/02b_lif/tau", 5e-5), "is not the paper's: tau is 5e-05 s, expected 0.0001"),
    (filled(f"{NODES}/02b_lif/tau", float("nan")), "has a tau that is not one number"),
    (once(f"{NODES}/02b_lif/tau", 0.5), "has a tau that is not one number for all its neurons"),
    (filled(f"{NODES}/02b_lif/v_threshold", 0.5), "is LIF.*, and '01b_lif' is LIF"),
    (filled(f"{NODES}/01b_lif/v_threshold", -1), "has the threshold -1, expected one above 0"),
    (remove(f"{NODES}/02b_lif/tau"), "has no numbers 'tau'"),
    (put(f"{NODES}/02b_lif/tau", "long"), "has no numbers 'tau'"),
    (put(f"{NODES}/02b_lif/tau", np.ones(7)), r"has tau of shape \(7,\), expected \(32, 16, 16\)"),
    (becomes(f"{NODES}/02b_lif", "CubaLIF"), r"'02b_lif' \(CubaLIF\) follows '02a_conv', expected"),
    (becomes(f"{NODES}/02c_pool", "SumPool2d"), r"\(SumPool2d\) is not of the paper's networks"),
    (becomes(f"{NODES}/02c_pool", "LIF"), "follows no convolution or product"),
    (put(f"{NODES}/02a_conv/stride", (2, 2)), r"has stride \(2, 2\), the paper's has \(1, 1\)"),
    (put(f"{NODES}/02a_conv/groups", 2), "has groups"),
    (put(f"{NODES}/02a_conv/padding", (0, 0)), "has padding"),
    (put(f"{NODES}/02a_conv/padding", "valid"), "has no numbers 'padding'"),
    (
        put(f"{NODES}/02a_conv/weight", np.ones((4, 4))),
        r"has weights \(4, 4\), expected \(n, 16, k",
    ),
    (put(f"{NODES}/02a_conv/bias", np.ones(5)), r"has bias of shape \(5,\), expected \(32,\)"),
    (put(f"{NODES}/02a_conv/bias", np.ones(32, int)), "expected floating-point numbers"),
    (once(f"{NODES}/02a_conv/weight", float("inf")), "has weight with what is no number"),
    (put(f"{NODES}/02c_pool/stride", (1, 1)), "has windows that overlap"),
    (put(f"{NODES}/02c_pool/kernel_size", (2, 3)), "expected square ones"),
    (
        put(f"{NODES}/02c_pool/kernel_size", 1.5),
        "has a kernel_size that is not a few whole numbers",
    ),
    (put(f"{NODES}/03a_flatten/start_dim", 1), "leaves dimensions of a sample apart"),
    (put(f"{NODES}/00_input/shape", (3, 32)), r"is of shape \(3, 32\), expected \(C, H, W\)"),
    (put(f"{NODES}/00_input/shape", (3, -1, 32)), r"expected \(C, H, W\)"),
    (put(f"{NODES}/00_input/shape", (3, 10**6, 32)), r"expected \(C, H, W\)"),
    (becomes(f"{NODES}/01d_neunorm", "Sub"), r"'01d_neunorm' \(Sub\) is not of the paper's"),
    (filled(f"{NORM}/sum/weight", 2.0), "is a subgraph that is not NeuNorm: .*weighs maps unlike"),
    (filled(f"{NORM}/spread/bias", 2.0), "weighs maps unlike"),
    (filled(f"{NORM}/join/scale", 0.5), "scales the spikes"),
    (filled(f"{NORM}/x/r", 0.5), "has r 0.5, expected 0.0625 .mean. or 0.003906 .literal."),
    (filled(f"{NORM}/x/v_leak", 0.5), "rests at another value than 0"),
    (becomes(f"{NORM}/x", "LIF"), "does not lead to one LI"),
    (remove(NORM), "is no NIR graph: it has no nodes"),
    (edges(("03c_lif", "03c_lif")), r"'03c_lif' \(LIF\) leads to 2 nodes, expected one"),
    (edges(("02c_pool", "02a_conv"), without=("02c_pool", "03a_flatten")), "leads back to itself"),
    (edges(without=("03c_lif", "04a_affine")), "leads to 0 nodes, expected one"),
    (edges(("nowhere", "02a_conv")), "an edge names the node 'nowhere', which is not there"),
    (put("node/edges", np.zeros((3, 2))), "the graph's edges are not pairs of names"),
    (put("node/edges", [["a", "b", "c"]]), "the graph's edges are not pairs of names"),
    (remove("node/edges"), "the graph's edges are not pairs of names"),
    (remove("node/type"), "is no NIR graph"),
    (remove("node"), "it is an HDF5 file without a NIR graph"),
    (remove(f"{NODES}/00_input"), "an edge names the node '00_input', which is not there"),
    (put(f"{NODES}/more", 1.0), "node 'more' is no node: a group was expected"),
    (put("node/metadata/dt", "soon"), "the metadata's dt is not one number"),
    (put("node/metadata/dt", 0.0), "the metadata's dt is 0 s, expected a time above 0"),
    (put("node/metadata/a", -1.0), "a is -1.0, expected a number above 0"),
    (put("node/metadata/tie", "never"), "the metadata's tie is 'never', expected at or above"),
    (put("node/metadata/tie", 1.0), "the metadata's tie is not one text"),
    (put("node/metadata/surrogate", "atan"), "its surrogate is 'atan', the paper's is a rectangle"),
    (put("node/metadata/classes", 7), "100 voting neurons are not as many for each of 7 classes"),
]


@pytest.mark.parametrize(("change", "sentence"), OTHERS, ids=[each[1][:40] for each in OTHERS])
def test_what_is_not_the_papers_network_is_said_with_the_node_and_why(
    change: Callable[[Any], None], sentence: str, path: Path
) -> None:
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(UsageError, match=sentence):
        nir_in.read(path)
    refusal(path)


def external_link(file: Any) -> None:
    file[f"{NODES}/02a_conv/weight2"] = h5py.ExternalLink("/etc/hostname", "/")


def soft_link(file: Any) -> None:
    file[f"{NODES}/other"] = h5py.SoftLink("/node")


def hard_cycle(file: Any) -> None:
    file[f"{NODES}/02a_conv/up"] = file["node"]


def external_storage(file: Any) -> None:
    del file[f"{NODES}/02a_conv/bias"]
    file.create_dataset(f"{NODES}/02a_conv/bias", (32,), "f4", external=[("/etc/passwd", 0, 128)])


def virtual(file: Any) -> None:
    layout = h5py.VirtualLayout(shape=(32,), dtype="f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", shape=(32,))
    del file[f"{NODES}/02a_conv/bias"]
    file.create_virtual_dataset(f"{NODES}/02a_conv/bias", layout)


def huge(file: Any) -> None:
    del file[f"{NODES}/02a_conv/weight"]
    file.create_dataset(f"{NODES}/02a_conv/weight", (2**20, 2**20), "f8", chunks=(64, 64))


def huge_pieces(file: Any) -> None:
    del file[f"{NODES}/02a_conv/bias"]
    file.create_dataset(f"{NODES}/02a_conv/bias", (2**28,), "f8", chunks=(2**28,), maxshape=(None,))


def compound(file: Any) -> None:
    put(f"{NODES}/02a_conv/bias", np.zeros(32, [("a", "f4"), ("b", "f4")]))(file)


def reference(file: Any) -> None:
    del file[f"{NODES}/02a_conv/bias"]
    file.create_dataset(f"{NODES}/02a_conv/bias", data=file["node"].ref, dtype=h5py.ref_dtype)


def empty(file: Any) -> None:
    put(f"{NODES}/02a_conv/bias", h5py.Empty("f4"))(file)


def long_text(file: Any) -> None:
    put(f"{NODES}/02a_conv/type", "x" * 5000)(file)


def no_text(file: Any) -> None:
    put(f"{NODES}/02a_conv/type", np.bytes_(b"\xff\xfe"))(file)


def many_texts(file: Any) -> None:
    del file["node/edges"]
    file["node"].create_dataset("edges", (10**9, 2), h5py.string_dtype(), chunks=(1000, 2))


def named_type(file: Any) -> None:
    file["node/made"] = np.dtype("f8")


def many_nodes(file: Any) -> None:
    for n in range(hdf5.MOST):
        file.create_group(f"{NODES}/{n}")


def packed_twice(file: Any) -> None:
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_chunk((32,))
    plan.set_deflate(9)
    plan.set_deflate(9)
    del file[f"{NODES}/02a_conv/bias"]
    space = h5py.h5s.create_simple((32,))
    place = f"{NODES}/02a_conv/bias".encode()
    h5py.h5d.create(file.id, place, h5py.h5t.IEEE_F32LE, space, dcpl=plan)


HOSTILE = [
    (external_link, "is a link to elsewhere, which is not followed"),
    (soft_link, "is a link to elsewhere, which is not followed"),
    (hard_cycle, "lies more than 6 groups deep"),
    (external_storage, "keeps its numbers in another file, which is not read"),
    (virtual, "keeps its numbers in another file, which is not read"),
    (huge, "more than a file of"),
    (huge_pieces, "that a file of its size cannot fill"),
    (compound, "holds neither numbers nor texts"),
    (reference, "holds neither numbers nor texts"),
    (empty, "is empty"),
    (long_text, "holds a text of more than 1000 characters"),
    (no_text, "holds a text that is not in UTF-8"),
    (many_texts, "holds more than 8192 texts"),
    (named_type, "is neither a group nor a dataset"),
    (many_nodes, "it holds more than 20000 groups and datasets"),
    (packed_twice, "is packed in another way than by gzip"),
]


@pytest.mark.usefixtures("nothing_waits_for_ever")
@pytest.mark.parametrize(("change", "sentence"), HOSTILE, ids=[e[0].__name__ for e in HOSTILE])
def test_a_file_that_leads_elsewhere_or_claims_too_much_is_refused_before_it_is_read(
    change: Callable[[Any], None], sentence: str, path: Path
) -> None:
    with h5py.File(path, "r+") as file:
        change(file)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert sentence in refusal(path)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200 * 2**10  # KiB; what is claimed is GiB


@pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.7, 0.999])
def test_a_file_that_is_cut_short_is_named(share: float, path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    assert "is no HDF5 file, or a damaged one" in refusal(path)


def test_what_is_no_file_or_another_is_named(tmp_path: Path) -> None:
    text = tmp_path / "text.nir"
    text.write_text("128C3(Encoding)-Voting")
    assert "is no HDF5 file" in refusal(text)
    folder = tmp_path / "folder.nir"
    folder.mkdir()
    assert "is no file" in refusal(folder)
    assert "is no file" in refusal(tmp_path / "missing.nir")


def test_bytes_changed_at_random_end_in_a_sentence_or_in_a_network(path: Path) -> None:
    whole, draw = path.read_bytes(), random.Random(0)
    heads = [n for n in range(0, len(whole), 8) if any(whole[n : n + 8])][:2000]
    for _ in range(8):
        changed = bytearray(whole)
        for _ in range(draw.choice((1, 4, 40))):
            changed[draw.choice(heads) + draw.randrange(8)] = draw.randrange(256)
        path.write_bytes(changed)
        try:
            apart.read(path)
        except UsageError as error:
            assert path.name in str(error)


def crash(ends: Ends, path: Path, kept: Path) -> None:
    """What the library that reads HDF5 does on some damaged files."""
    ends.enter()
    os.abort()


def hang(ends: Ends, path: Path, kept: Path) -> None:
    """What it does on others."""
    ends.enter()
    signal.pause()


def babble(ends: Ends, path: Path, kept: Path) -> None:
    """What a process may do whose memory was written over."""
    ends.enter()
    ends.say(["read", {"notation": 7}])


@pytest.mark.parametrize(
    ("main", "sentence"),
    [
        (crash, "died of SIGABRT"),
        (hang, "it said nothing for 2 s and was ended as hung"),
        (babble, "what was read is no answer"),
    ],
)
def test_a_file_that_ends_or_hangs_its_reader_is_one_sentence(
    main: Callable[..., None], sentence: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apart, "main", main)
    monkeypatch.setattr(apart, "PATIENCE", 2.0)
    with pytest.raises(UsageError, match=rf"network\.nir is a damaged HDF5 file .*{sentence}"):
        apart.read(path)


def test_a_process_apart_reads_what_this_one_does(path: Path, tmp_path: Path) -> None:
    here, there = nir_in.read(path), apart.read(path)
    assert (here.network, here.says_a) == (there.network, there.says_a)
    assert all(map(torch.equal, here.parameters, there.parameters))
    with pytest.raises(UsageError, match="is no file"):
        apart.read(tmp_path / "missing.nir")


def test_a_file_of_another_simulator_is_taken_where_it_is_this_neuron(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["node/metadata"]
        for name in ("tau", "r", "v_threshold"):
            for node in ("01b_lif", "02b_lif", "03c_lif", "04b_lif"):
                place = f"{NODES}/{node}/{name}"
                value = np.float32(file[place][()].flat[0])
                put(place, np.array([value]))(file)
        del file[f"{NODES}/01b_lif/v_reset"]
    found = nir_in.read(path)
    assert found.network.lif.k_tau == 0.25 and not found.says_a
    # NIR's neuron fires above its threshold
    assert found.network.lif.v_th == float(np.nextafter(np.float32(0.75), np.float32(1)))
    assert found.network.neunorm == small("cifar10", neunorm="mean").neunorm
    assert str(found.network) == str(small("cifar10"))
