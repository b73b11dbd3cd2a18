"""The documents are true: their links, commands and names exist."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from html.parser import HTMLParser
from importlib import import_module
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import typer.main
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from rows import rows_of_a_run, training
from surroundings import Command

import adapters
from adapters import facts
from harness import __version__, results
from harness.cli.app import app
from harness.conformance import random_batch, small
from harness.jobs.verify import FigureCheck
from harness.proof.exam import Exam
from harness.records import Store
from harness.spec import Options, Precision
from harness.spec.options import GIVEN

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DOCUMENTS = [*sorted(ROOT.glob("*.md")), ROOT / "adapters/README.md", ROOT / "results/README.md"]
DOCUMENTS += sorted((ROOT / "docs").rglob("*.md"))
LINK, COMMAND = r"\]\(([^)\s]+)\)", r"^(?:uv run )?harness (.+)$"


def matches(pattern: str) -> list[tuple[Path, str]]:
    """Matches in each document; the README has at least one of each pattern."""
    assert re.search(pattern, README, re.M)
    return [
        (path, hit) for path in DOCUMENTS for hit in re.findall(pattern, path.read_text(), re.M)
    ]


def headings(path: Path) -> set[str]:
    """The anchors of a page: its headings and ids."""
    text = path.read_text(encoding="utf-8")
    lines = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    bare = [re.sub(r"[^\w -]", "", line.lower()).strip().replace(" ", "-") for line in lines]
    return {*bare, *re.findall(r'\bid="?([^\s">]+)', text)}


def test_links_lead_somewhere_and_the_readme_has_one_to_each_page() -> None:
    for path, target in matches(LINK):
        if target.startswith("http"):
            continue
        name, _, anchor = target.partition("#")
        leads = path.parent / name if name else path
        assert leads.exists(), f"{path}: {target}"
        assert not anchor or anchor in headings(leads), f"{path}: {target}"
    linked = set(re.findall(LINK, README))
    assert {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")} <= linked
    (picture,) = re.findall(r'\bsrc="([^"]+)"', README)
    assert (ROOT / picture).exists()


def test_on_a_package_index_no_link_of_the_readme_leads_nowhere() -> None:
    text, hooks = README, PROJECT["tool"]["hatch"]["metadata"]["hooks"]
    for rule in hooks["fancy-pypi-readme"]["substitutions"]:
        text = re.sub(rule["pattern"], rule["replacement"], text)
    assert "docs/figures.md" in text and "](https://arxiv.org" in text
    assert not re.search(r"\]\((?!https?://)|<img", text)


def words_of(line: str) -> list[str]:
    """The arguments of `harness` in a line of shell, up to what another command does."""
    words = shlex.split(line, comments=True)
    ends = [n for n, word in enumerate(words) if word in ("||", "&&", "|", ";")]
    return words[: ends[0]] if ends else words


def test_commands_flags_and_extras_of_the_documents_exist() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for _, line in matches(COMMAND):
        is_whole(commands, *words_of(line))
    jobs = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/maintainers.md").read_text(), re.DOTALL)
    steps = [step.get("run", "") for job in yaml.safe_load(*jobs).values() for step in job["steps"]]
    lines = [words_of(step.removeprefix("harness ")) for step in steps if step[:8] == "harness "]
    assert len(lines) == 2
    for words in lines:
        is_whole(commands, *words)
    for path, extras in matches(r"pip install '\.\[([^\]]+)\]"):
        assert set(extras.split(",")) <= set(PROJECT["project"]["optional-dependencies"]), path


def is_whole(commands: dict[str, Any], name: str, *words: str) -> None:
    """Has a command with these words be read, with the values of its options."""
    with commands[name].make_context(name, [*words]) as context:
        values = {option.name: context.params.get(option.name) for option in GIVEN}
        Options.parse(**{name: value for name, value in values.items() if value != ()})


@pytest.fixture
def nothing_is_measured(
    monkeypatch: pytest.MonkeyPatch, inside: Path, no_data_of_the_machine: None
) -> None:
    """All that a command does but measuring; with the folders that the pages name."""
    suites = ("scale", "timesteps", "neunorm", "accuracy")
    of_suites = rows_of_a_run(), *(training(0, (0.4, 0.5), suite=suite) for suite in suites)
    folders = ("results/local", "results/published/intel-xeon-amx", "OLD", "NEW")
    for name, rows in product(folders, of_suites):
        Store(inside / name).append(*rows)
    facts.discover(adapters.names())  # in a child: later none starts
    check = FigureCheck("a training", "loss", "1", "1", "confirmed")
    for name, value in (
        (
            "api.executor",
            SimpleNamespace(train=lambda *arguments: (), measure=lambda *arguments: ()),
        ),
        ("machine.child.warm", None),
        ("datasets.why_not_the_data", ""),
        ("cli.measuring.training_seconds", 60.0),
        ("proof.check.prove_adapters", ()),
        ("jobs.verify.verify", [check]),
    ):
        monkeypatch.setattr(f"harness.{name}", lambda *arguments, value=value, **named: value)


# commands on other pages name files of examples, and are only parsed
RUN = [
    line
    for name in ("README.md", "docs/suites.md", "docs/runs.md", "docs/data.md")
    for line in re.findall(COMMAND, (ROOT / name).read_text(), re.MULTILINE)
]


@pytest.mark.parametrize("line", dict.fromkeys(" ".join(words_of(line)) for line in RUN))
def test_commands_of_readme_and_pages_run(
    line: str, nothing_is_measured: None, command: Command
) -> None:
    code, _, error = command(*shlex.split(line))
    assert code == 0, error


def written() -> list[tuple[Path, str]]:
    """Text files of the repository, but rows and what is made of them."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    # an archive of the sources is no checkout
    names = listed.stdout.splitlines() or [str(path) for path in ROOT.rglob("*.*")]
    paths = [ROOT / name for name in names if not name.startswith("results/")]
    return [(path, path.read_text(encoding="utf-8")) for path in paths if path.is_file()]


def test_version_and_addresses_stand_in_one_place() -> None:
    paths = {
        word: {path.relative_to(ROOT).as_posix() for path, text in written() if word in text}
        for word in (__version__, PROJECT["project"]["urls"]["Source"])
    }
    assert paths == {
        __version__: {"harness/machine/installed.py"},
        PROJECT["project"]["urls"]["Source"]: {"pyproject.toml"},
    }


def test_make_targets_and_programs_that_pages_and_workflows_name_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    files = [*DOCUMENTS, *(ROOT / ".github").rglob("*.*"), ROOT / ".ci/run", ROOT / "Makefile"]
    texts = "\n".join(path.read_text(encoding="utf-8") for path in files)
    named = set(re.findall(r"(?:`|^|run: )make ([a-z]+)\b", texts, re.MULTILINE))
    assert named == targets - {"clean"}
    for program in set(re.findall(r"(?<![\w/.])(?:\.ci|tests)/[\w.]+", texts)):
        assert (ROOT / program).exists(), program


def test_issue_forms_are_whole_and_the_pull_requests_list_has_three() -> None:
    forms = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))
    assert len(forms) == 2
    for form in map(yaml.safe_load, (text.read_text() for text in forms)):
        assert {"name", "description", "body"} <= set(form)
        ids = [part["id"] for part in form["body"] if part["type"] != "markdown"]
        assert len(ids) == len(set(ids)) >= 4
        assert any(part.get("validations", {}).get("required") for part in form["body"])
    questions = (ROOT / ".github/pull_request_template.md").read_text()
    assert re.findall(r"^(\d)\. ", questions, re.MULTILINE) == ["1", "2", "3"]


def test_the_lock_is_of_what_the_project_asks_for_and_of_the_hooks() -> None:
    lines = (ROOT / ".github/constraints.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!]+", line) for line in lines)
    locked = {canonicalize_name(name): version for name, version in (x.split("==") for x in lines)}
    project, groups = PROJECT["project"], PROJECT["dependency-groups"]
    listed = [project["dependencies"], *project["optional-dependencies"].values(), *groups.values()]
    free = {"torch", "torchvision", "triton", "nir", "snn-harness"}  # Makefile: why
    for requirement in (
        Requirement(text) for texts in listed for text in texts if isinstance(text, str)
    ):
        assert (
            requirement.name in free
            or locked[canonicalize_name(requirement.name)] in requirement.specifier
        ), requirement
    assert not free & set(locked)
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    (revision,) = (
        repository["rev"] for repository in hooks if repository["repo"].endswith("ruff-pre-commit")
    )
    assert revision == f"v{locked[canonicalize_name('ruff')]}"


def test_the_page_on_fairness_has_each_adapter_and_each_of_its_variants() -> None:
    page = (ROOT / "docs/fairness.md").read_text()
    ours = [name for name in adapters.names() if (ROOT / "adapters" / f"{name}.py").is_file()]
    for name in (*ours, "fused"):
        assert re.search(rf"^\| `{name}` \|", page, re.MULTILINE), name
        if adapters.missing(name) is None:
            for variant in adapters.variants_of(name):
                assert f"`{name}:{variant}`" in page
    prefixes = {f"{name}:" for name in (*ours, "fused")}
    for name in re.findall(r"`([a-z]+:[a-z0-9-]+)`", page):
        assert name.split(":")[0] + ":" in prefixes
        adapters.check_name(name)


def test_names_of_the_pages_of_the_api_exist() -> None:
    pages = sorted((ROOT / "docs/api").glob("*.md"))
    assert pages
    for page in pages:
        text = page.read_text()
        for name, members in re.findall(r"^::: (\S+)(?:\n.*\n +members: \[(.+)\])?", text, re.M):
            module = import_module(name)
            for member in filter(None, members.split(", ")):
                assert getattr(module, member).__doc__, f"{page}: {name}.{member}"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", out]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    ended = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    return out


@pytest.mark.slow
def test_links_of_the_site_lead_somewhere_and_it_asks_no_other_host(site: Path) -> None:
    """Of each page with its frame: mkdocs checks only the links that Markdown has."""
    pages = {page: Parts(page) for page in sorted(site.rglob("*.html")) if page.name != "404.html"}
    assert site / "results" / "report.html" in pages and len(pages) > 20
    source = PROJECT["project"]["urls"]["Source"]
    for page, parts in pages.items():
        for target in parts.loaded:
            assert not target.startswith(("http:", "https:", "//")), f"{page}: {target}"
        for target in (*parts.loaded, *parts.links):
            address = urlsplit(target)
            if target.startswith(f"{source}/"):
                path = re.sub(r"^/(blob|tree)/main/", "", target.removeprefix(source))
                assert (ROOT / path).exists(), f"{page}: {target}"
            if address.scheme or target.startswith("data:"):
                continue
            leads = (page.parent / unquote(address.path)).resolve() if address.path else page
            leads = leads / "index.html" if leads.is_dir() else leads
            assert leads.exists(), f"{page}: {target}"
            if address.fragment and leads in pages:
                assert unquote(address.fragment) in pages[leads].ids, f"{page}: {target}"


class Parts(HTMLParser):
    """What a page links to, what it loads to be shown, and its anchors."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.ids: set[str] = {""}
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.ids |= {attributes[name] for name in ("id", "name") if name in attributes}
        if tag == "a" and "href" in attributes:
            self.links.append(attributes["href"])
        elif tag == "link" and attributes.get("rel") in ("stylesheet", "icon"):
            self.loaded.append(attributes["href"])
        elif tag in ("img", "script", "iframe") and "src" in attributes:
            self.loaded.append(attributes["src"])


def test_the_citation_is_of_the_project_and_the_paper_a_reference() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert "version" not in citation  # it would be a second place
    assert "snn-harness" in citation["title"] and "preferred-citation" not in citation
    (paper,) = citation["references"]
    assert paper["title"].startswith("Direct Training for Spiking Neural Networks")


# the framework that the guide's example adapts, as its own authors might have written it
EXAMPLE = """
import torch


class Neuron(torch.nn.Module):
    def __init__(self, decay, threshold, surrogate_width):
        super().__init__()
        self.decay, self.threshold, self.width = decay, threshold, surrogate_width

    def forward(self, current, state):
        v = current if state is None else self.decay * state + current
        near = ((v - self.threshold).detach().abs() < self.width / 2).to(v.dtype)
        slope = near * v / self.width
        spikes = (v >= self.threshold).to(v.dtype) + (slope - slope.detach())
        return spikes, v * (1 - spikes)
"""


def python_of(path: Path) -> str:
    blocks = re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL)
    assert blocks, path
    return "\n".join(blocks)


@pytest.mark.parametrize("precision", ["fp64", "fp32"])
def test_the_guides_example_passes_its_exam(
    precision: Precision, plant: Callable[[str, str], None], tmp_path: Path
) -> None:
    plant("example", python_of(ROOT / "adapters" / "README.md"))
    (tmp_path / "site" / "example.py").write_text(EXAMPLE)
    network = small("cifar10", neunorm="mean")
    batch = random_batch(network, 4, 4, static=True)
    adapter = adapters.load("example")
    assert adapters.missing("example") is None
    certificate = Exam(network, batch, precision).certify(adapter)
    assert adapter.DEVIATIONS == certificate.failures == () and certificate.passed


@pytest.mark.slow
def test_the_notebooks_page_runs_as_a_script_from_top_to_bottom(tmp_path: Path) -> None:
    """In a process of its own, without a guard around the run: its children do not run it again."""
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "published").symlink_to(ROOT / "results" / "published")
    script = tmp_path / "page.py"
    script.write_text("print('begins')\n" + python_of(ROOT / "docs" / "notebook.md"))
    env = {**os.environ, "HARNESS_DATA": str(tmp_path), "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, script], env=env, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "CasesFailed" not in ended.stderr
    printed = ended.stdout
    assert printed.count("begins") == 1 and "rounds of the floor" in printed
    assert "expected whole numbers of 1 or more" in printed
    assert "torch.Size([10, 2, 100]) [0.0, 1.0]" in printed
    trained = results(tmp_path / "results" / "local" / "notebook").timesteps()
    assert min(trained["accuracy"].tolist()) > 0.6  # it has learnt: chance is 0.1
    assert (tmp_path / "results" / "local" / "notebook" / "report.html").is_file()
    (record,) = (tmp_path / "results" / "local" / "notebook" / "runs").glob("*.json")
    assert "suite=timesteps" in record.read_text() and "page.py" not in record.read_text()
