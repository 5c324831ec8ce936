"""The documents for people: README stays short, all are on the map, and no link of any of them leads nowhere."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest
from website.build import groups

ROOT: Final = Path(__file__).parents[2]
README: Final = ROOT / "README.md"
DOCUMENTS: Final = sorted(
    path for pattern in ("*.md", "docs/**/*.md", "examples/*/*.md", "clients/*/*.md") for path in ROOT.glob(pattern)
)
ELSEWHERE: Final = [
    path
    for pattern in (
        "deploy/**/*",
        "examples/**/*",
        "src/**/*.py",
        "src/**/*.yaml",
        "src/**/*.js",
        "compose.yaml",
        "Dockerfile",
    )
    for path in ROOT.glob(pattern)
    if path.is_file() and "node_modules" not in path.parts
]
"""What names documents, but is none."""


def prose(document: Path) -> str:
    return re.sub(r"^```.*?^```$", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(document: Path) -> set[str]:
    """As GitHub makes them from headings."""
    headings = re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_is_read_in_two_minutes() -> None:
    assert len(README.read_text(encoding="utf-8").split()) < 700


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading_that_there_are(document: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)|(?:src|srcset)=\"([^\"]+)\"", prose(document))
    dead = []
    for link in filter(None, (one or other for one, other in links)):
        path, _, anchor = link.partition("#")
        target = (document.parent / path) if path else document
        if "://" not in link and (not target.exists() or (anchor and anchor not in anchors(target))):
            dead.append(link)
    assert dead == []


def test_the_map_leads_to_every_document_and_every_recipe() -> None:
    """Else nobody finds it. README leads to the map, and the navigation of the site is made from it."""
    listed = [page for pages in groups().values() for page in pages]
    wanted = {path.relative_to(ROOT) for path in DOCUMENTS} - {Path("README.md"), Path("docs/README.md")}
    assert wanted - set(listed) == set()
    assert len(listed) == len(set(listed)), "a page has one place"
    assert list(groups()) == ["Tutorial", "How-to", "Reference", "Explanation"]
    assert "](docs/README.md)" in README.read_text(encoding="utf-8")


def test_whatever_else_names_a_document_names_one_that_there_is() -> None:
    dead = []
    for file in ELSEWHERE:
        for path, anchor in re.findall(r"\b(docs/[\w/-]+\.md)(?:#([\w-]+))?", file.read_text("utf-8", "ignore")):
            if not (ROOT / path).exists() or (anchor and anchor not in anchors(ROOT / path)):
                dead.append((str(file.relative_to(ROOT)), path, anchor))
    assert dead == []


def test_no_sentence_of_the_description_of_the_api_is_cut_at_a_comma() -> None:
    """In YAML's braces one without quotes ends there, and what follows is a key without a value."""
    described = json.loads((ROOT / "src" / "worker_orchestrator" / "http" / "openapi.json").read_text(encoding="utf-8"))
    cut = list[str]()

    def look(part: Any) -> None:
        if isinstance(part, dict):
            cut.extend(key for key, value in part.items() if value is None and " " in key)
        for each in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
            look(each)

    look(described)
    assert cut == []
