"""The image of docs/recipes/vite.md, made as the page says, so that what is proven here is what its readers have."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.integration.docker_command import a_name, docker
from tests.recipes.at_hand import a_node_image, needs
from tests.recipes.page import ROOT, a_reader

__all__ = ["PAGE", "a_vite_image"]

PAGE = ROOT / "docs" / "recipes" / "vite.md"


@contextmanager
def a_vite_image(folder: Path) -> Iterator[str]:
    """Its packages come from npm's registry, or from build/recipes/npm. The image goes with the block."""
    needs("npm", "npm")
    text, tag = PAGE.read_text(encoding="utf-8"), f"{a_name('vite')}:latest"
    with a_node_image() as node, a_reader(folder) as reader:
        reader.replacing = {"node:22-slim": node, "my/vite:latest": tag}
        reader.write_files_of(PAGE)
        for command in re.findall(r"^\$ ((?:npm install|docker build) .*)$", text, re.MULTILINE):
            reader.run(reader.adapted(command))
        try:
            yield tag
        finally:
            docker("rmi", "-f", tag, check=False)
