"""Checked settings and arguments: what one may hold stands beside it, and a refusal names every error in words.

pydantic validates; this module turns its findings into sentences of one form, `field: expected ..., got ...`, where the
expectation is read from the field's own annotation. Knows no field of any settings class.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType, ModuleType, NoneType, UnionType
from typing import Any, ClassVar, Literal, ParamSpec, Self, TypeVar, Union, get_args, get_origin, get_type_hints

import annotated_types
import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

P = ParamSpec("P")
R = TypeVar("R")


class RefusedError(ValueError):
    """A request cannot be carried out as asked. A command ends with status 2."""


class FailedError(RuntimeError):
    """Work that was begun cannot go on. A command ends with status 1."""


class ConfigError(RefusedError):
    """A request is refused. The message names the source of the errors and lists them all, one a line."""

    def __init__(self, errors: Iterable[str], source: str = "configuration") -> None:
        self.errors = tuple(errors)
        self.source = source
        super().__init__(f"{source} refused:\n" + "\n".join(f"  - {error}" for error in self.errors))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.errors, self.source)


@contextmanager
def collected(errors: list[str]) -> Iterator[None]:
    """Append the errors of a refusal inside the block to a list, and go on after it."""
    try:
        yield
    except ConfigError as error:
        errors += error.errors


class Settings(BaseModel):
    """Base of all settings: immutable, unknown keys refused, every error in one `ConfigError`."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    file_kind: ClassVar[str] = "config"
    """Name of the kind of file that holds such settings, for refusals."""
    bundled: ClassVar[Mapping[str, Path]] = MappingProxyType({})
    """Files of such settings that come with the package, by name."""

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            found = error.errors(include_url=False)
            sentences = (sentence for details in found for sentence in _sentences(details, type(self)))
            raise ConfigError(dict.fromkeys(sentences)) from None

    def to_dict(self) -> dict[str, Any]:
        """Return the plain nested form, the inverse of `from_dict`."""
        return self.model_dump()

    def to_yaml(self) -> str:
        """Return the YAML form, which `load` reads back exactly."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True)

    @classmethod
    def load(cls, source: str | Path) -> Self:
        """Read the YAML form by the name of a bundled file or from a path; what it leaves out takes its default.

        Raises:
            ConfigError: There is no such file, it is not YAML, or it holds an error.
        """
        return cls.from_dict(load_yaml(source, cls.bundled, cls.file_kind), f"{cls.file_kind} {source}")

    @classmethod
    def from_dict(cls, data: Any, source: str = "configuration") -> Self:
        """Build from the plain form; a missing key takes its default.

        Raises:
            ConfigError: naming every error, unknown keys with the nearest known one.
        """
        if not isinstance(data, Mapping) or not all(isinstance(key, str) for key in data):
            raise ConfigError([f"expected a mapping of names to values, got {data!r}"], source)
        try:
            return cls(**data)
        except ConfigError as error:
            raise ConfigError(error.errors, source) from None

    def replace(self, **changes: Any) -> Self:
        """Return the settings with some fields changed, checked as a whole."""
        return type(self)(**(dict(self) | changes))


def value_errors(types: Mapping[str, Any], values: Mapping[str, Any]) -> list[str]:
    """Return the values that do not fit their types, in words; types are annotations, as those of settings."""
    errors = []
    for name, value in values.items():
        try:
            _adapter(types[name]).validate_python(value)
        except ValidationError as error:
            cause = error.errors()[0].get("ctx", {}).get("error")
            errors.append(f"{name}: {cause or f'expected {expectation(types[name])}, got {value!r}'}")
    return errors


@functools.lru_cache
def _adapter(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(annotation, config=Settings.model_config)


def checks_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function refuse arguments that do not fit their annotations, as settings are refused: a decorator.

    Raises:
        ConfigError: By the function, naming every argument that does not fit.
    """

    types, signature = argument_types(function), inspect.signature(function)

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        given = signature.bind(*args, **kwargs).arguments
        if errors := value_errors(types, {name: value for name, value in given.items() if name in types}):
            raise ConfigError(errors, function.__qualname__.removesuffix(".__init__"))
        return function(*args, **kwargs)

    return checked


def argument_types(function: Callable[..., Any], *names: str) -> dict[str, Any]:
    """Return the annotations, bounds included, of some of a function's arguments by name; without names, of all."""
    types = get_type_hints(function, include_extras=True)
    return {name: types[name] for name in names or types}


def did_you_mean(word: str, known: Iterable[str], otherwise: str | None = None) -> str:
    """Return a hint to append to a refusal of a word: the nearest known one, whatever the case.

    If none is near: `otherwise`, or the list of all known words if that is None.
    """
    names = {name.lower(): name for name in known}
    if match := difflib.get_close_matches(word.lower(), names, n=1):
        return f" (did you mean {names[match[0]]!r}?)"
    return f"; expected one of {', '.join(names.values())}" if otherwise is None else otherwise


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


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, which takes 1e-4 for a number as YAML 1.2 does, and not for text as YAML 1.1."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+|\d+\.\d*|\.\d+)[eE][-+]?\d+"), list("-+.0123456789")
)


def read_yaml(text: str) -> Any:
    """Parse YAML.

    Raises:
        ValueError: The text is not YAML; the message is one line.
    """
    try:
        return yaml.load(text, _Loader)  # noqa: S506, a safe loader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ValueError(f"not YAML: {where}{error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that does not exist
        raise ValueError("not YAML: " + " ".join(str(error).split())) from error


def load_yaml(source: str | Path, bundled: Mapping[str, Path] | None = None, what: str = "file") -> Any:
    """Read a YAML file, or a bundled one by its name.

    Args:
        source: Name or path.
        bundled: Paths of the bundled files by name.
        what: Name of the kind of file, for the refusal.

    Raises:
        ConfigError: There is no such file, or it is not YAML.
    """
    path = (bundled or {}).get(str(source), Path(source))
    hint = f" or one of {', '.join(bundled)}" if bundled else ""
    try:
        return read_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        meant = did_you_mean(str(source), bundled or (), otherwise="")
        raise ConfigError(
            [f"{what}: cannot read {str(source)!r} ({reason}); expected a YAML file{hint}{meant}"]
        ) from None
    except ValueError as error:
        raise ConfigError([f"{what} {source}: {error}"]) from None


def bundled_files(directory: Path) -> dict[str, Path]:
    """Return the YAML files of a directory by name, in alphabetical order."""
    return {path.stem: path for path in sorted(directory.glob("*.yaml"))}


def expectation(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """Return in words what a field of a type takes, such as `a whole number, 1 or more`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if hasattr(annotation, "__metadata__"):
        field = FieldInfo.from_annotation(annotation)
        return expectation(field.annotation, [*field.metadata, *metadata])
    if origin is Literal:
        return " or ".join(map(repr, arguments))
    if origin in (Union, UnionType):
        return " or ".join(expectation(each, metadata) for each in arguments if each is not NoneType)
    if origin in (list, tuple):
        least = ", at least one" if any(isinstance(each, annotated_types.MinLen) for each in metadata) else ""
        return f"a list of {expectation(arguments[0]).removeprefix('a ')}s{least}" if arguments else "a list"
    kinds_by_type = {
        int: "a whole number",
        float: "a finite number",
        bool: "true or false",
        dict: "a mapping of names to values",
    }
    if annotation is str:
        return "a non-empty text" if any(isinstance(each, annotated_types.MinLen) for each in metadata) else "text"
    kind = kinds_by_type.get(origin or annotation, "a mapping")
    return kind + _bounds(metadata)


def _bounds(metadata: Sequence[Any]) -> str:
    words = {"ge": "{:g} or more", "gt": "above {:g}", "le": "at most {:.12g}", "lt": "below {:g}"}
    found = {name: value for each in metadata for name in words if (value := getattr(each, name, None)) is not None}
    if {"ge", "le"} <= found.keys():
        return f" from {found['ge']:g} to {found['le']:.12g}"
    parts = [words[name].format(value) for name, value in found.items()]
    return f", {' and '.join(parts)}" if parts else ""


def _sentences(details: ErrorDetails, settings: type[BaseModel]) -> Iterator[str]:
    cause = details.get("ctx", {}).get("error")
    location = [str(part) for part in details["loc"]]
    name = location[0] if location else ""
    if isinstance(cause, ConfigError):  # of a nested class, or of a validator with several errors
        is_item = len(location) > 1 and isinstance(details["loc"][1], int)
        yield from (f"{name}[{location[1]}]: {error}" if is_item else error for error in cause.errors)
        return
    field: FieldInfo | None = settings.model_fields.get(name)
    got = details["input"]
    if details["type"] == "extra_forbidden":
        yield f"unknown key {name!r}{did_you_mean(name, settings.model_fields)}"
    elif details["type"] == "missing" and field is not None:
        about = " ".join((field.description or "").split()).rstrip(".")
        what = f" ({about[0].lower()}{about[1:]})" if about else ""
        yield f"{name}: missing; expected {expectation(field.annotation, field.metadata)}{what}"
    elif cause is not None:
        yield f"{name}: {cause}" if name else str(cause)
    elif field is not None:
        # The whole value: a union's finding about one of its branches says nothing to a person.
        inside = " in it" if get_origin(field.annotation) is dict and len(location) > 1 else ""
        yield f"{name}: expected {expectation(field.annotation, field.metadata)}, got {got!r}{inside}"
    else:
        yield f"{'.'.join(location)}: {details['msg']}"


def is_finite_number(value: Any) -> bool:
    """Return whether a value is a number, neither NaN nor infinite (a bool is no number)."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
