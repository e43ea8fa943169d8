"""The configuration by introspection: every field is documented, and read by something."""

import ast
import dataclasses
import inspect
from pathlib import Path

import pytest

import rllib_moe
from rllib_moe import config as config_module
from rllib_moe.config import SECTIONS, ExperimentConfig


def _documented_fields(class_name: str) -> dict[str, str | None]:
    """Fields of a class in `config.py` with the string below each, from its source."""
    tree = ast.parse(inspect.getsource(config_module))
    (body,) = [node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == class_name]
    documented: dict[str, str | None] = {}
    for index, node in enumerate(body):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            below = body[index + 1] if index + 1 < len(body) else None
            is_text = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
            documented[node.target.id] = str(below.value.value) if is_text else None  # type: ignore[union-attr]
    return documented


@pytest.mark.parametrize("kind", [*SECTIONS.values(), ExperimentConfig], ids=lambda kind: kind.__name__)
def test_every_field_is_documented(kind: type) -> None:
    documented = _documented_fields(kind.__name__)
    assert list(documented) == [field.name for field in dataclasses.fields(kind)]
    for name, text in documented.items():
        assert text, f"{kind.__name__}.{name} has no docstring"
        assert text.endswith("."), f"{kind.__name__}.{name}: {text}"


def _attributes_read() -> set[str]:
    """Names of all attributes read anywhere in the package but `config.py`."""
    package = Path(rllib_moe.__path__[0])
    trees = [ast.parse(path.read_text()) for path in package.rglob("*.py") if path.name != "config.py"]
    return {
        node.attr
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }


@pytest.fixture(scope="module")
def attributes_read() -> set[str]:
    return _attributes_read()


@pytest.mark.parametrize("name", [field.name for kind in SECTIONS.values() for field in dataclasses.fields(kind)])
def test_every_field_is_read(name: str, attributes_read: set[str]) -> None:
    assert name in attributes_read, f"{name} is a flag nobody reads"
