"""What the site needs beside mkdocs: pages at their places in the repository, and addresses.

So a link between files is right in both, and no page is written twice.
"""

from __future__ import annotations

import posixpath
import re
import tomllib
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.nav import Link, Navigation
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
URLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]
PAGES = ("*.md", "docs/**/*.md", "adapters/*.md", "results/*.md")
REPORT = "results/report.html"
COPIED = (REPORT, "results/picture.svg", "results/tables/*.csv", "docs/site.css", "LICENSE")
LINK = re.compile(r"(?<=\]\()(?!https?:|#)([^)#\s]+)(?=[)#])")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Take the site's address from pyproject.toml.

    `repo_url` stays unset: with it each page would ask that host for the repository's stars.
    """
    config.site_url = URLS["Documentation"]
    return config


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Return the theme's files, and the repository's pages and report under their own paths."""
    for page in [file for file in files if file.src_dir == config.docs_dir]:
        files.remove(page)
    for path in sorted(path for each in (*PAGES, *COPIED) for path in ROOT.glob(each)):
        name = path.relative_to(ROOT).as_posix()
        files.append(File(name, str(ROOT), config.site_dir, config.use_directory_urls))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Have links to files that are no part of the site, such as sources, lead to the repository."""

    def address(link: re.Match[str]) -> str:
        folder = posixpath.dirname(page.file.src_uri)
        target = posixpath.normpath(posixpath.join(folder, link[0]))
        if files.get_file_from_path(target) or not (ROOT / target).exists():
            return link[0]  # mkdocs resolves it, or warns
        if (ROOT / target / "README.md").exists():
            return posixpath.join(link[0], "README.md")
        kind = "tree" if (ROOT / target).is_dir() else "blob"
        return f"{URLS['Source']}/{kind}/main/{target}"

    return LINK.sub(address, markdown)


def on_nav(nav: Navigation, *, config: MkDocsConfig, files: Files) -> Navigation:
    """Add the report, which is a page of its own making, and the repository."""
    nav.items.insert(1, Link("Report", REPORT))
    nav.items.append(Link("Source", URLS["Source"]))
    return nav
