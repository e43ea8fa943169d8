"""Settings: every error in one refusal."""

from typing import Any, Literal

import pytest
from pydantic import Field

from rllib_moe.validation.errors import ConfigError
from rllib_moe.validation.settings import Settings


class Inner(Settings):
    size: int = Field(1, ge=1)
    kind: Literal["a", "b"] = "a"


class Outer(Settings):
    inner: Inner = Inner()
    share: float | None = Field(None, gt=0, le=1)
    names: tuple[str, ...] = ()
    needed: str = Field("x", min_length=1)


def test_every_error_of_nested_settings_in_one_refusal() -> None:
    with pytest.raises(ConfigError) as refused:
        Outer.from_dict({"inner": {"size": 0, "kind": "c", "sise": 1}, "share": 2, "needed": "", "nmes": ()}, "file x")
    assert set(refused.value.errors) == {
        "size: expected a whole number, 1 or more, got 0",
        "kind: expected 'a' or 'b', got 'c'",
        "unknown key 'sise' (did you mean 'size'?)",
        "share: expected a finite number, above 0 and at most 1, got 2",
        "needed: expected a non-empty text, got ''",
        "unknown key 'nmes' (did you mean 'names'?)",
    }
    assert str(refused.value).startswith("file x refused:\n  - ")


@pytest.mark.parametrize("data", [None, 5, "inner", [("inner", {})], {5: 1}])
def test_no_mapping(data: Any) -> None:
    with pytest.raises(ConfigError, match="expected a mapping of names to values"):
        Outer.from_dict(data)


def test_replace_checks_the_whole() -> None:
    assert Outer().replace(share=0.5).share == 0.5
    with pytest.raises(ConfigError, match="share: expected"):
        Outer().replace(share=-1)
