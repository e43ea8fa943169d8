"""Refusals, for the tests of all that is checked before it starts."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rllib_moe.validation import ConfigError


def errors_of(call: Callable[..., object], *arguments: object, **named: object) -> list[str]:
    """Return the errors with which a call is refused, all of one message."""
    with pytest.raises(ConfigError) as refused:
        call(*arguments, **named)
    return list(refused.value.errors)
