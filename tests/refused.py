"""The errors that a refusal names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rllib_moe.validation.errors import ConfigError


def errors_of(call: Callable[..., object], *arguments: Any, **options: Any) -> list[str]:
    """Return the errors for which a call is refused."""
    with pytest.raises(ConfigError) as refused:
        call(*arguments, **options)
    return list(refused.value.errors)
