"""The active phase as the network holds it: buffers, because only those travel.

RLlib copies a model's `state_dict` to rollout workers, into checkpoints and into recreated workers; Python attributes
stay behind. So all of a phase is here, the learning rate included: whoever holds the model can see what should be
active, whatever way the model came to it. The buffers follow from the fields of `PhaseConfig`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rllib_moe.schedule.phases import GATES, NAME_BYTES, VALUES, PhaseConfig


class PhaseState(nn.Module):
    """The active phase. Until `apply_phase` is called: softmax, and every value at that which means "off".

    Buffers: each of `VALUES` by its name, a float32 scalar (NaN for None); `routing_name` uint8 [NAME_BYTES], the name
    of the gate in UTF-8, so that no gate is ever taken for another; `episodes`, the global episode count at which the
    phase was applied, an int64 scalar.
    """

    routing_name: Tensor
    episodes: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("routing_name", _encoded(GATES[0]))
        self.register_buffer("episodes", torch.tensor(0, dtype=torch.int64))
        for name, value in VALUES.items():
            self.register_buffer(name, torch.tensor(math.nan if value.off is None else value.off))

    @property
    def routing(self) -> str:
        """Name of the active gate."""
        return bytes(self.routing_name.tolist()).rstrip(b"\0").decode()

    def value(self, name: str) -> float:
        """Return a value as the schedule wrote it: 5e-05, not 4.999999873689376e-05.

        RLlib's weight sync turns float64 into float32, so the buffers are float32; the shortest decimal that rounds to
        one is what the schedule said.
        """
        return float(str(np.float32(self.get_buffer(name).item())))

    def apply_phase(self, phase: PhaseConfig, episodes: int) -> None:
        """Write a phase into the buffers, in place: other holders of the module may share them."""
        self.routing_name.copy_(_encoded(phase.routing))
        self.episodes.fill_(episodes)
        for name in VALUES:
            value = getattr(phase, name)
            self.get_buffer(name).fill_(math.nan if value is None else value)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        """Load a state dict; a value that it is older than keeps its "off"."""
        loaded: dict[str, Any] = {f"{prefix}{name}": buffer for name, buffer in PhaseState().named_buffers()}
        super()._load_from_state_dict(loaded | dict(state_dict), prefix, *args)


def _encoded(name: str) -> Tensor:
    """Return a name as bytes, uint8 [NAME_BYTES]."""
    return torch.tensor(list(name.encode().ljust(NAME_BYTES, b"\0")), dtype=torch.uint8)
