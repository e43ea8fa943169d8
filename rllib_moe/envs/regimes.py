"""A small graph environment whose best router is known: a test of routing in a minute, without NetHack.

Each observation shows a *cue* and belongs to a *regime*, in plain sight but only for who reads the graph. Every cue
is a one-to-one map from regimes to actions, another one for each cue; the action it gives for the active regime
earns 1, any other 0. So R regimes have R actions, and acting at random earns 1/R a step.

The cue is one-hot in ``features``. The regime is **only in the edges**: each regime has a beacon node of its own
type, all beacons are present in every observation, in random order, and the ego is tied (edge type 1) to the
beacon of the active regime. Nodes pooled without regard to edges say nothing.

**The best router is** ``gate = one-hot(regime)``: expert k then needs one row per cue, linear in the cue. Without a
router a head linear in regime and cue (logits ``a[regime] + b[cue]``) cannot serve even two cues: exchange the two
cues' right actions; every pair (regime, action) and (cue, action) occurs as often as before, so the logits'
total is the same, yet each exchanged logit would have to be the smaller one. For the same reason routing by cue
takes as many experts as there are cues, so with ``num_cues`` above the number of experts it is no rival.

What no environment can do is forbid a wide non-linear trunk to solve the task ahead of the router.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces
from pydantic import Field

from rllib_moe.envs.arguments import StepLimit
from rllib_moe.envs.description import GraphDescription
from rllib_moe.envs.graph_space import graph_space
from rllib_moe.validation.arguments import argument_types, checks_arguments
from rllib_moe.validation.errors import ConfigError

EGO_TYPE = 0
"""Type of node 0."""

PLAIN_TYPE = 1
"""Type of the nodes which only fill the graph."""

FIRST_BEACON_TYPE = 2
"""Type of the beacon of regime 0; regime r has ``FIRST_BEACON_TYPE + r``."""

TIE_EDGE = 1
"""Edge between the ego and the beacon of the active regime, both ways."""

DECOY_EDGE = 2
"""Edge among the other beacons, and between the ego and the plain nodes, both ways."""

NODE_FEATURES = 2
"""Width of ``nodes``: a random place in the plane, without meaning."""


_PLAIN = {"num_regimes": 4, "num_cues": 8, "max_nodes": 8}
_SCARCE = {"num_regimes": 7, "num_cues": 42, "max_nodes": 11}
"""Sizes at which a small network serves all regimes badly unless experts share them out."""

_EPISODE = ("_step", "_score", "_regimes", "_cues", "_drawn")
"""Attributes that hold an episode."""


class RegimesEnv(gymnasium.Env[dict[str, np.ndarray], np.int64]):
    """The environment of this module. An episode is ``max_steps`` long and then truncated; it never terminates.

    An action changes nothing but its own reward, so a discount of 0 is exact here; one near 1 asks the learner to
    find it beneath the noise of the rewards that follow.

    ``info``: ``regime`` int, ``score`` (right actions so far), ``scene`` (``regime_0`` ... : bool).

    Args:
        scarce: Take 7 regimes, 42 cues and room for 11 nodes instead of 4, 8 and 8 where none are given.
        num_regimes: Regimes R, each with a beacon; also the number of actions.
        num_cues: Cues, drawn anew every step; at most R times the numbers below R which are coprime to R.
        max_nodes: Room for the ego, the beacons and a random number of plain nodes.
        max_steps: Steps of an episode; may change while it lives.
        switch_probability: Chance per step that another regime takes over; may change while it lives.

    Raises:
        ConfigError: An argument is out of range, or does not fit the others; every error in one message.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012  # gymnasium's own attribute

    @checks_arguments
    def __init__(
        self,
        *,
        scarce: bool = False,
        num_regimes: Annotated[int, Field(ge=2)] | None = None,
        num_cues: Annotated[int, Field(ge=2)] | None = None,
        max_nodes: int | None = None,
        max_steps: StepLimit = 32,
        switch_probability: Annotated[float, Field(ge=0, le=1)] = 0.2,
    ) -> None:
        sizes = {"num_regimes": num_regimes, "num_cues": num_cues, "max_nodes": max_nodes}
        default = _SCARCE if scarce else _PLAIN
        num_regimes, num_cues, max_nodes = (default[k] if size is None else size for k, size in sizes.items())
        multipliers = [m for m in range(1, num_regimes) if math.gcd(m, num_regimes) == 1]
        most_cues = num_regimes * len(multipliers)
        errors = []
        if num_cues > most_cues:
            errors.append(f"num_cues: expected at most {most_cues} for num_regimes={num_regimes}, got {num_cues}")
        if max_nodes <= num_regimes:
            errors.append(f"max_nodes: expected above num_regimes={num_regimes}, got {max_nodes}")
        if errors:
            raise ConfigError(errors, "RegimesEnv")
        self.num_regimes = num_regimes
        self.num_cues = num_cues
        self.max_steps = max_steps
        self.max_nodes = max_nodes
        self.switch_probability = switch_probability
        self.observation_space = graph_space(
            max_nodes=max_nodes,
            node_features=NODE_FEATURES,
            features=num_cues,
            num_edge_types=2,
            num_node_types=FIRST_BEACON_TYPE + num_regimes,
            num_roles=num_regimes,
        )
        self.action_space = spaces.Discrete(num_regimes)
        self._actions = [
            [(multipliers[cue // num_regimes] * regime + cue) % num_regimes for cue in range(num_cues)]
            for regime in range(num_regimes)
        ]
        self._scene_names = [f"regime_{regime}" for regime in range(num_regimes)]
        self.description = GraphDescription(
            action_names=tuple(f"action {action}" for action in range(num_regimes)),
            node_type_names=("ego", "plain", *(f"beacon {regime}" for regime in range(num_regimes))),
            edge_type_names=("tie", "decoy"),
            role_names=tuple(f"regime {regime}" for regime in range(num_regimes)),
            labels=("regime",),
        )
        self._step = max_steps  # an episode that is over, until the first reset
        self._score = 0.0
        self._regimes: list[int] = []
        self._cues: list[int] = []
        self._drawn: dict[str, np.ndarray] = {}

    changeable: ClassVar[Mapping[str, Any]] = argument_types(__init__, "max_steps", "switch_probability")

    def get_state(self) -> dict[str, Any]:
        """Return the episode under way and the generator of those to come (see :class:`saved_state.Saveable`)."""
        kept = {name: getattr(self, name) for name in _EPISODE}
        return {"generator": self.np_random.bit_generator.state, **kept}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from a state by :meth:`get_state`."""
        self.np_random.bit_generator.state = state["generator"]
        for name in _EPISODE:
            setattr(self, name, state[name])

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Draw an episode: from ``seed``, or else the next of this environment's own sequence."""
        super().reset(seed=seed, options=options)
        self._step = 0
        self._score = 0.0
        self._draw_episode()
        return self._observation(), self._info()

    def step(self, action: np.int64 | int) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Judge ``action`` against the observation it answers, and show the next one.

        Raises:
            RuntimeError: The episode is over, or was never begun.
        """
        if self._step >= self.max_steps:
            raise RuntimeError("the episode is over: call reset() before step()")
        reward = float(action == self.best_action())
        self._score += reward
        self._step += 1
        return self._observation(), reward, False, self._step >= self.max_steps, self._info()

    def best_action(self) -> int:
        """The right action for the observation last returned."""
        return self.right_action(self._regimes[self._step], self._cues[self._step])

    def right_action(self, regime: int, cue: int) -> int:
        """The right action: ``(m * regime + cue) mod R``, where m is coprime to R, another for every R cues."""
        return self._actions[regime][cue]

    def regime_of(self, observation: dict[str, np.ndarray]) -> int:
        """Read the regime from an observation, as a model has to: by the ego's tie. The best router's choice."""
        beacon = int(np.argmax(observation["edges"][0] == TIE_EDGE))
        return int(observation["node_types"][beacon]) - FIRST_BEACON_TYPE

    def cue_of(self, observation: dict[str, np.ndarray]) -> int:
        """Read the cue from an observation."""
        return int(np.argmax(observation["features"]))

    def _draw_episode(self) -> None:
        """Draw every observation of the episode at once: a few numpy calls an episode, not a few a step."""
        rng = self.np_random
        times, beacons, size = self.max_steps + 1, self.num_regimes, self.max_nodes
        jumps = rng.integers(1, beacons, times) * (rng.random(times) < self.switch_probability)
        jumps[0] = rng.integers(beacons)
        regimes = np.cumsum(jumps) % beacons
        cues = rng.integers(self.num_cues, size=times)

        # Present nodes sort first, in random order, behind the ego.
        present = np.arange(size) < rng.integers(beacons + 1, size + 1, times)[:, None]  # [T, N]
        kinds = np.full((times, size), PLAIN_TYPE, np.uint8)
        kinds[:, 0] = EGO_TYPE
        kinds[:, 1 : beacons + 1] = FIRST_BEACON_TYPE + np.arange(beacons)
        keys = rng.random((times, size))
        keys[:, 0] = -1.0
        keys[~present] = 2.0
        kinds = np.take_along_axis(kinds, np.argsort(keys, axis=1), axis=1)
        kinds[~present] = 0

        tied = kinds == (FIRST_BEACON_TYPE + regimes)[:, None]
        decoy = (kinds >= FIRST_BEACON_TYPE) & ~tied
        plain = kinds == PLAIN_TYPE
        edges = (decoy[:, :, None] & decoy[:, None, :]) * np.uint8(DECOY_EDGE)  # [T, N, N]
        edges[:, np.arange(size), np.arange(size)] = 0
        edges[:, 0] = tied * np.uint8(TIE_EDGE) + plain * np.uint8(DECOY_EDGE)
        edges[:, :, 0] = edges[:, 0]

        self._regimes = regimes.tolist()
        self._cues = cues.tolist()
        self._drawn = {
            "nodes": (2 * rng.random((times, size, NODE_FEATURES), np.float32) - 1) * present[:, :, None],
            "node_types": kinds,
            "node_mask": present.astype(np.uint8),
            "edges": edges,
            "features": np.eye(self.num_cues, dtype=np.float32)[cues],
            "roles": np.eye(beacons, dtype=np.float32)[regimes],
        }

    def _observation(self) -> dict[str, np.ndarray]:
        return {name: drawn[self._step].copy() for name, drawn in self._drawn.items()}

    def _info(self) -> dict[str, Any]:
        regime = self._regimes[self._step]
        scene = {name: index == regime for index, name in enumerate(self._scene_names)}
        return {"regime": regime, "score": self._score, "scene": scene}
