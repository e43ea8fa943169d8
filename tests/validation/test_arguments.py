"""Arguments of functions, refused as settings are."""

from typing import Annotated, Any

import pytest
from pydantic import Field

from rllib_moe.validation.arguments import checks_arguments
from rllib_moe.validation.errors import ConfigError


def test_a_function_refuses_arguments_as_settings_are_refused() -> None:
    @checks_arguments
    def walk(steps: Annotated[int, Field(ge=1)], share: Annotated[float, Field(ge=0, le=1)] | None = None) -> Any:
        return steps, share

    assert walk(3, share=0.5) == (3, 0.5)
    with pytest.raises(ConfigError) as refused:
        walk(True, share=float("nan"))
    assert refused.value.errors == (
        "steps: expected a whole number, 1 or more, got True",
        "share: expected a finite number from 0 to 1, got nan",
    )
    with pytest.raises(TypeError, match="stpes"):
        walk(1, stpes=3)  # type: ignore[call-arg]
