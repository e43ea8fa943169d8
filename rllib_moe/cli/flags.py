"""Flags from settings classes: each field is a flag, its docstring the help, its checks those of the class.

Only flags that were given are returned, so that whoever asks can lay them over a file or a resumed run. Values are read
as YAML where the field is no text; whether they fit is the settings' business, so that one message names every error.
"""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from types import NoneType, UnionType
from typing import Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from rllib_moe.runtime.invocation import called_as
from rllib_moe.validation.errors import ConfigError
from rllib_moe.validation.words import did_you_mean
from rllib_moe.validation.yaml_files import read_yaml

T = TypeVar("T")


class Parser(argparse.ArgumentParser):
    """An argument parser that raises what it refuses.

    Args:
        description: Text above the flags; commands in it, as scripts, are shown as the user calls them.
    """

    def __init__(self, name: str, description: str) -> None:
        width = min(120, shutil.get_terminal_size((100, 40)).columns)
        super().__init__(
            prog=shlex.join(called_as(name)),
            description=re.sub(
                r"(?:python )?scripts/(\w+)\.py", lambda found: shlex.join(called_as(found[1])), description
            ),
            allow_abbrev=False,
            formatter_class=partial(argparse.RawDescriptionHelpFormatter, max_help_position=34, width=width),
            argument_default=argparse.SUPPRESS,
        )
        self.told_instead: dict[str, str] = {}
        """For words that look like flags and are none: what to write instead."""

    def error(self, message: str) -> NoReturn:
        """Raise the refusal.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError([message], "command line")

    def add_settings(
        self, title: str, settings: type[BaseModel], leave_out: Iterable[str] = (), prefix: str = ""
    ) -> None:
        """Add a flag for each field of a settings class.

        Args:
            prefix: Prefix of the flags and of the names under which `read` returns their values.
        """
        group = self.add_argument_group(title)
        for name, field in settings.model_fields.items():
            if name not in leave_out:
                _add_flag(group, f"{prefix}{name}", field)

    def read(self, arguments: Sequence[str], make: Callable[[dict[str, Any]], T]) -> T:
        """Return what is made of the values that were given.

        Args:
            make: Function of the values by the names of their fields.

        Raises:
            ConfigError: naming every error of the words, and every error that `make` finds.
            SystemExit: `--help` was asked for.
        """
        self._errors: list[str] = []
        given, rest = self.parse_known_args(list(arguments))
        known = [flag for action in self._actions for flag in action.option_strings]
        errors = [*(f"unknown argument {word!r}{self._hint(word, known)}" for word in rest), *self._errors]
        try:
            made = make(vars(given))
        except ConfigError as error:
            raise ConfigError(dict.fromkeys([*errors, *error.errors]), error.source) from None
        if errors:
            raise ConfigError(errors, "command line")
        return made

    def _hint(self, word: str, known: Sequence[str]) -> str:
        flag = word.partition("=")[0]
        if flag in self.told_instead:
            return f": {self.told_instead[flag]}"
        return did_you_mean(flag, known, otherwise="") if word.startswith("-") else ""

    def note(self, error: str) -> None:
        """Note an error of a word, to be told with all others."""
        self._errors.append(error)


class Assignments(argparse.Action):
    """Action of a repeatable flag whose words are `name=value`, values in YAML: they are collected in a dict."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        """Add one word; one that is no assignment is noted as an error."""
        name, equals, value = str(values).partition("=")
        try:
            if not equals or not name:
                raise ValueError
            collected = {**getattr(namespace, self.dest, {}), name: read_word(value)}
        except ValueError:
            hint = f"; text goes in quotes, such as {option_string} '{name}=\"{value}\"'" if name and equals else ""
            parser.note(f"{option_string}: expected name=value with a value in YAML, got {values!r}{hint}")
        else:
            setattr(namespace, self.dest, collected)


def read_word(word: str) -> Any:
    """Return a word read as YAML; a single word that YAML refuses, such as `@`, is text.

    Raises:
        ValueError: The word is a list or mapping that is not YAML, or a date that does not exist.
    """
    if re.fullmatch(r"[@`%&*!|>?][^\s\[\]{}]*", word):
        return word
    return read_yaml(word)


def words_of(arguments: Sequence[str] | None) -> list[str]:
    """Return the words of a command line, by default those of this process."""
    return sys.argv[1:] if arguments is None else list(arguments)


def _add_flag(group: Any, name: str, field: FieldInfo) -> None:
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    kinds = list(_kinds(get_args(field.annotation)[0] if "nargs" in extra else field.annotation))
    flag = f"--{str(extra.get('flag', name)).replace('_', '-')}"
    about = " ".join(str(field.description).replace("%", "%%").split())
    if any(get_origin(kind) is dict for kind in kinds):
        about += " Repeatable."
        group.add_argument(flag.removesuffix("s"), dest=name, action=Assignments, metavar="NAME=VALUE", help=about)
        return
    if not field.is_required() and field.default not in (None, ()):
        default = field.get_default(call_default_factory=True)
        if isinstance(default, tuple):
            default = ",".join(map(str, default))
        about += f" Default: {('off', 'on')[default] if isinstance(default, bool) else default}."
    if bool in kinds:
        group.add_argument(flag, dest=name, action=argparse.BooleanOptionalAction, help=about)
        return
    is_text = str in kinds or any(get_origin(kind) in (Literal, tuple) for kind in kinds)
    choices = [str(choice) for kind in kinds for choice in (get_args(kind) if get_origin(kind) is Literal else ())]
    default_metavar = f"{{{','.join(choices)}}}" if choices else "TEXT" if is_text else "NUMBER"
    options = {
        "metavar": extra.get("metavar", default_metavar),
        "type": str if is_text else _word,
        "help": about,
    }
    if extra.get("positional"):
        group.add_argument(name, nargs=extra.get("nargs"), **options)
    else:
        group.add_argument(flag, dest=name, **options)


def _word(word: str) -> Any:
    """Read a word, or leave it as it is: the settings then refuse it with what they expect."""
    try:
        return read_word(word)
    except ValueError:
        return word


def _kinds(annotation: Any) -> Iterator[Any]:
    """Yield the types that an annotation allows, but None."""
    if hasattr(annotation, "__metadata__"):
        yield from _kinds(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for each in get_args(annotation):
            yield from _kinds(each)
    elif annotation is not NoneType:
        yield annotation
