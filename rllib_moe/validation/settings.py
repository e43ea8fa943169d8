"""Checked settings: what a field may hold stands beside it, and a refusal names every error in words.

pydantic validates; this module turns its findings into sentences of one form, `field: expected ..., got ...`, where the
expectation is read from the field's own annotation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Self, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from rllib_moe.validation.errors import ConfigError
from rllib_moe.validation.words import did_you_mean, expectation
from rllib_moe.validation.yaml_files import load_yaml


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
