"""Imports go downwards in the list of docs/architecture.md, as it says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import rllib_moe

PACKAGE = Path(rllib_moe.__path__[0])
PAGE = PACKAGE.parent / "docs" / "architecture.md"


def rooms() -> list[str]:
    """Return the entries of the package as the page lists them, from the top down."""
    tree = re.search(r"^rllib_moe/\n(.*?)^scripts/", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert tree is not None
    return [name.removesuffix(".py") for name in re.findall(r"^  ([\w.]+?)/? ", tree[1], re.MULTILINE)]


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield the entries that a module imports from, but for types."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            yield from (name[1] for name in names if name[0] == "rllib_moe" and len(name) > 1)
        if isinstance(node, ast.ImportFrom) and node.module == "rllib_moe":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rllib_moe."):
            yield str(node.module).split(".")[1]
        yield from imported(node)


def test_the_page_lists_every_entry() -> None:
    entries = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert set(rooms()) == entries - {"__init__"}


def test_imports_go_downwards() -> None:
    heights = {name: -height for height, name in enumerate(rooms())}
    upwards = [
        f"{path.relative_to(PACKAGE)} imports {entry}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for entry in imported(ast.parse(path.read_text(encoding="utf-8")))
        if entry in heights
        and (own := path.relative_to(PACKAGE).parts[0].removesuffix(".py")) in heights
        and heights[entry] > heights[own]
    ]
    assert upwards == []
