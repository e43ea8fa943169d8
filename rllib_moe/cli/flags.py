"""Flags from settings classes: each field is a flag, its docstring the help, its checks those of the class.

Only flags that were given are returned, so that whoever asks can lay them over a file or a resumed run. Values are read
as YAML where the field is no text; whether they fit is the settings' business, so that one message names every error.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, NoReturn, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from rllib_moe.validation import ConfigError, did_you_mean, read_yaml


class Parser(argparse.ArgumentParser):
    """An argument parser that raises what it refuses.

    Args:
        prog: Name of the command in its usage.
        description: Text above the flags.
    """

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(
            prog=prog,
            description=description,
            allow_abbrev=False,
            formatter_class=_HelpFormatter,
            argument_default=argparse.SUPPRESS,
        )

    def error(self, message: str) -> NoReturn:
        """Raise the refusal.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError([message], "command line")

    def add_settings(self, title: str, settings: type[BaseModel], leave_out: Iterable[str] = ()) -> None:
        """Add a flag for each field of a settings class.

        Args:
            title: Heading of the flags in the help.
            settings: The class.
            leave_out: Names of fields without a flag.
        """
        group = self.add_argument_group(title)
        for name, field in settings.model_fields.items():
            if name not in leave_out:
                _add_flag(group, name, field)

    def read(self, arguments: Sequence[str]) -> dict[str, Any]:
        """Return the values that were given by the names of their fields.

        Raises:
            ConfigError: A flag is unknown or lacks its value.
            SystemExit: `--help` was asked for.
        """
        given, rest = self.parse_known_args(list(arguments))
        if rest:
            known = [flag for action in self._actions for flag in action.option_strings]
            raise ConfigError([f"unknown argument {word!r}{_hint(word, known)}" for word in rest], "command line")
        return vars(given)


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=34, width=min(120, shutil.get_terminal_size((100, 40)).columns))


class Assignments(argparse.Action):
    """Action of a repeatable flag whose words are `name=value`, values in YAML: they are collected in a dict."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        """Add one word.

        Raises:
            ConfigError: The word is no assignment.
        """
        del parser
        name, equals, value = str(values).partition("=")
        if not equals or not name:
            raise ConfigError([f"{option_string}: expected name=value, got {values!r}"], "command line")
        collected = {**getattr(namespace, self.dest, {}), name: read_word(value, str(option_string))}
        setattr(namespace, self.dest, collected)


def read_word(word: str, name: str) -> Any:
    """Return a word read as YAML; `@` and the like, which YAML refuses, are text.

    Args:
        word: The word.
        name: Name of its flag, for the refusal.
    """
    try:
        return read_yaml(word)
    except ValueError:
        if re.fullmatch(r"[^\s\[\]{}]+", word):
            return word
        raise ConfigError([f"{name}: expected a value in YAML, got {word!r}"], "command line") from None


def words_of(arguments: Sequence[str] | None) -> list[str]:
    """Return the words of a command line, by default those of this process."""
    return sys.argv[1:] if arguments is None else list(arguments)


def _add_flag(group: Any, name: str, field: FieldInfo) -> None:
    kinds = list(_kinds(field.annotation))
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    about = " ".join(str(field.description).replace("%", "%%").split())
    if not field.is_required() and field.default not in (None, (), False):
        about += f" Default: {field.get_default(call_default_factory=True)}."
    if bool in kinds:
        group.add_argument(f"--{name.replace('_', '-')}", dest=name, action=argparse.BooleanOptionalAction, help=about)
        return
    if any(get_origin(kind) is dict for kind in kinds):
        flag = f"--{name.removesuffix('s').replace('_', '-')}"
        about = " ".join(str(field.description).split()) + " One a flag; may be repeated."
        group.add_argument(flag, dest=name, action=Assignments, metavar="NAME=VALUE", help=about)
        return
    is_text = str in kinds or any(get_origin(kind) is Literal for kind in kinds)
    choices = [str(choice) for kind in kinds for choice in (get_args(kind) if get_origin(kind) is Literal else ())]
    default_metavar = f"{{{','.join(choices)}}}" if choices else "TEXT" if is_text else "NUMBER"
    options = {
        "metavar": extra.get("metavar", default_metavar),
        "type": str if is_text else lambda word: read_word(word, name),
        "help": about,
    }
    if extra.get("positional"):
        group.add_argument(name, nargs=extra.get("nargs"), **options)
    else:
        group.add_argument(f"--{name.replace('_', '-')}", dest=name, **options)


def _kinds(annotation: Any) -> Iterator[Any]:
    """Yield the types that an annotation allows, but None."""
    if hasattr(annotation, "__metadata__"):
        yield from _kinds(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for each in get_args(annotation):
            yield from _kinds(each)
    elif annotation is not NoneType:
        yield annotation


def _hint(word: str, known: Sequence[str]) -> str:
    return did_you_mean(word.partition("=")[0], known, otherwise="") if word.startswith("-") else ""
