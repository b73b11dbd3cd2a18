"""The pages under docs/ as HTML, with links that hold on a static host."""

from __future__ import annotations

import posixpath
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from markdown_it import MarkdownIt
from markdown_it.token import Token

FOLDER = "docs"
_NO_SLUG = re.compile(r"[^\w\- ]")


@dataclass(frozen=True)
class Document:
    """A page of docs/: its path on the site, its title, and its body as HTML."""

    path: str
    title: str
    html: str


@dataclass(frozen=True)
class Attachment:
    """A file of docs/ that is no page, as it is."""

    path: str
    content: bytes


@dataclass(frozen=True)
class Library:
    """What lies under docs/ of a checkout; nothing where the package was installed without one."""

    documents: tuple[Document, ...] = ()
    attachments: tuple[Attachment, ...] = ()


@dataclass(frozen=True)
class _Links:
    """Where links of a page lead on the site."""

    page: str  # its path in the repository
    known: frozenset[str]  # files under docs/, by their path in the repository
    repository: str | None  # its address

    def target(self, link: str) -> str | None:
        """The link as the site has it; None where it leads to nothing there."""
        parts = urlsplit(link)
        if parts.scheme or parts.netloc or not parts.path:
            return link
        here = posixpath.dirname(self.page)
        path = posixpath.normpath(posixpath.join(here, unquote(parts.path)))
        end = f"#{parts.fragment}" if parts.fragment else ""
        if path in self.known:
            return posixpath.relpath(_on_site(path), here) + end
        if self.repository is None or path.startswith((".", "/")):
            return None
        return f"{self.repository}/blob/HEAD/{path}{end}"


def library(root: Path) -> Library:
    """All of docs/ under `root`, in the order of its paths."""
    files = sorted(path for path in (root / FOLDER).rglob("*") if path.is_file())
    shown = {path.relative_to(root).as_posix(): path for path in files if path.name[0] != "."}
    repository = _repository(root / "pyproject.toml")
    documents, attachments = [], []
    for name, path in shown.items():
        if path.suffix == ".md":
            links = _Links(name, frozenset(shown), repository)
            documents.append(_document(path.read_text(encoding="utf-8"), links))
        else:
            attachments.append(Attachment(name, path.read_bytes()))
    return Library(tuple(documents), tuple(attachments))


def _repository(pyproject: Path) -> str | None:
    """The address of the repository, where pyproject.toml has one."""
    if not pyproject.is_file():
        return None
    project = tomllib.loads(pyproject.read_text(encoding="utf-8")).get("project", {})
    urls = {name.lower(): url.rstrip("/") for name, url in project.get("urls", {}).items()}
    return urls.get("repository") or urls.get("source")


def _on_site(path: str) -> str:
    return f"{path.removesuffix('.md')}.html" if path.endswith(".md") else path


def _document(text: str, links: _Links) -> Document:
    markdown = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    tokens = markdown.parse(text)
    headings = _name_headings(tokens)
    for token in tokens:
        if token.children is not None:
            token.children = list(_relinked(token.children, links))
    html = markdown.renderer.render(tokens, markdown.options, {})
    # what scrolls can be reached by keyboard
    html = html.replace("<table>", '<div class="scroll" tabindex="0"><table>')
    html = html.replace("<pre>", '<pre tabindex="0">')
    html = html.replace("</table>", "</table></div>")
    title = headings[0] if headings else posixpath.basename(links.page).removesuffix(".md")
    return Document(_on_site(links.page), title, html)


def _name_headings(tokens: list[Token]) -> list[str]:
    """Gives each heading the id that links use; the headings' texts."""
    texts: list[str] = []
    taken: Counter[str] = Counter()
    for at, token in enumerate(tokens):
        if token.type == "heading_open":
            text = "".join(each.content for each in tokens[at + 1].children or [])
            slug = _NO_SLUG.sub("", text.lower()).replace(" ", "-")
            token.attrSet("id", f"{slug}-{taken[slug]}" if taken[slug] else slug)
            taken[slug] += 1
            texts.append(text)
    return texts


def _relinked(tokens: Iterable[Token], links: _Links) -> Iterator[Token]:
    """The parts of a line; of a link that leads nowhere its text, of such a picture its words."""
    kept: list[bool] = []
    for token in tokens:
        if token.type == "link_open":
            target = links.target(str(token.attrs["href"]))
            kept.append(target is not None)
            if target is None:
                continue
            token.attrs["href"] = target
        elif token.type == "link_close" and not kept.pop():
            continue
        elif token.type == "image":
            target = links.target(str(token.attrs["src"]))
            if target is None or urlsplit(target).netloc:  # the site asks no other host
                token = Token("text", "", 0, content=token.content)
            else:
                token.attrs["src"] = target
        yield token
