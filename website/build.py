"""Puts together the folder that Sphinx reads, and has it make the site.

The documents are copied as they stand, with the folders between them, so that their links lead where they lead on GitHub.
`docs/README.md` is the map: its headings are the groups of the navigation, and its links the pages, in order. Files that a
document links to and that are no page of the map can be downloaded from the site.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from website.reference import pages as made_pages

__all__ = ["MAP", "ROOT", "build", "groups"]

ROOT: Final = Path(__file__).resolve().parents[1]
MAP: Final = ROOT / "docs" / "README.md"
_HERE: Final = Path(__file__).parent
_ICON: Final = ROOT / "src" / "worker_orchestrator" / "dashboard" / "icon.svg"
_GROUP: Final = re.compile(r"^## (.+)$", re.MULTILINE)
_LINK: Final = re.compile(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)")
_FENCED: Final = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_PICTURE: Final = re.compile(r'(?:src|srcset)="([^":]+)"')


def groups() -> dict[str, list[Path]]:
    """The pages of each group of the navigation, as paths from the root of the repository."""
    _, *parts = _GROUP.split(MAP.read_text(encoding="utf-8"))
    named = zip(parts[::2], parts[1::2], strict=True)
    return {name: [_from_root(MAP, link) for link in _LINK.findall(text)] for name, text in named}


def _from_root(page: Path, link: str) -> Path:
    return (page.parent / link).resolve().relative_to(ROOT)


def _prose(page: Path) -> str:
    return _FENCED.sub("", page.read_text(encoding="utf-8"))


def _linked(page: Path) -> Iterator[Path]:
    """The files that a page links to or shows."""
    text = _prose(page)
    for link in [*_LINK.findall(text), *_PICTURE.findall(text)]:
        if "://" not in link and (page.parent / link).is_file():
            yield _from_root(page, link)


def _put_together(source: Path) -> None:
    """All that Sphinx reads."""
    pages = [Path("README.md"), MAP.relative_to(ROOT), *(page for group in groups().values() for page in group)]
    for page in pages:
        for file in (page, *_linked(ROOT / page)):
            target = source / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / file, target)
    made = {source / "reference" / f"{name}.md": text for name, text in made_pages().items()}
    (source / "reference").mkdir()
    for page, text in made.items():
        page.write_text(text, encoding="utf-8")
    (source / "README.md").rename(source / "index.md")
    with (source / "index.md").open("a", encoding="utf-8") as index:
        index.write(_navigation([page.relative_to(source) for page in made]))
    (source / MAP.relative_to(ROOT)).write_text("---\norphan: true\n---\n" + MAP.read_text(encoding="utf-8"), "utf-8")
    shutil.copyfile(_HERE / "conf.py", source / "conf.py")
    for folder in ("static", "templates"):
        shutil.copytree(_HERE / folder, source / f"_{folder}")
    shutil.copyfile(_ICON, source / "_static" / "icon.svg")


def _navigation(made: list[Path]) -> str:
    """Of each group a hidden table of contents. What is made from the source comes first in the reference."""
    trees = []
    for group, pages in groups().items():
        listed = "\n".join(str(page.with_suffix("")) for page in [*(made if group == "Reference" else []), *pages])
        trees.append(f"\n```{{toctree}}\n:hidden:\n:caption: {group}\n\n{listed}\n```\n")
    return "".join(trees)


def build(site: Path) -> None:
    """Make the site anew. Whatever Sphinx warns of ends it."""
    site = site.resolve()
    source = site.with_name(f"{site.name}-source")
    for folder in (site, source):
        shutil.rmtree(folder, ignore_errors=True)
    source.mkdir(parents=True)
    _put_together(source)
    options = ("-b", "html", "-W", "--keep-going", "--quiet", "--doctree-dir", str(source / ".doctrees"))
    subprocess.run([sys.executable, "-m", "sphinx", *options, str(source), str(site)], check=True)
    _add_pictures(source, site)


def _add_pictures(source: Path, site: Path) -> None:
    """Those of HTML in Markdown, of which Sphinx knows nothing, to where this looks for them."""
    for page in source.rglob("*.md"):
        for picture in _PICTURE.findall(_prose(page)):
            target = site / page.parent.relative_to(source) / picture
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(page.parent / picture, target)
