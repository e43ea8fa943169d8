"""Modules and objects of the user's, named by a path and imported."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from rllib_moe.validation.words import did_you_mean


def import_by_path(path: str, name: str) -> Any:
    """Return the object that a path `module:attribute` names; `name` is the setting that asks for it.

    Raises:
        ValueError: The path is of another form, or the module or the attribute cannot be imported.
    """
    module, colon, attribute = path.partition(":")
    if not (colon and module and attribute):
        raise ValueError(f"{name}: expected module:name, got {path!r}")
    imported = import_for(module, f"{name}: cannot import {path!r}")
    if not hasattr(imported, attribute):
        raise ValueError(f"{name}: module {module!r} has no {attribute!r}{did_you_mean(attribute, vars(imported), '')}")
    return getattr(imported, attribute)


def import_for(module: str, refusal: str) -> ModuleType:
    """Import a module of the user's.

    Raises:
        ValueError: It cannot be imported, whatever it raises; the message begins with `refusal`.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        hint = "a module in this directory is found with PYTHONPATH=. before the command"
        raise ValueError(f"{refusal} ({error}; {hint})") from None
    except Exception as error:
        raise ValueError(f"{refusal} ({type(error).__name__}: {error})") from error
