"""One episode played and recorded as plain data: everything seen, decided and earned.

The actions are those of an evaluation on the same seed: the same actor chooses them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
import torch

from rllib_moe.config import EnvironmentConfig
from rllib_moe.envs.description import GraphDescription, describe, expert_names
from rllib_moe.envs.registry import make_configured
from rllib_moe.evaluation.player import Player
from rllib_moe.evaluation.replay.screen import Screen, parse_ansi
from rllib_moe.metrics import rounded
from rllib_moe.models.policy_network import ILLEGAL, PolicyOutput

DIGITS = 4
"""Decimals of probabilities, gates and attention: finer than a picture shows."""


@dataclass(kw_only=True)
class Recording:
    """An episode. Lists have one entry for each step: the state, what was decided in it, and what that earned."""

    seed: int
    """Seed of the environment's reset."""
    description: GraphDescription
    """Names of the environment's parts."""
    num_experts: int = 0
    """Experts K."""
    num_heads: int = 0
    """Attention heads H; 0 for an encoder without attention."""
    scene_names: list[str] = field(default_factory=list)
    """Names of the scene's flags."""
    screens: list[Screen] = field(default_factory=list)
    """Screens of the environment; empty where it renders no text."""
    gate: list[list[float]] = field(default_factory=list)
    """Weights of the experts [K]."""
    probabilities: list[list[float]] = field(default_factory=list)
    """The policy's action probabilities [A]."""
    expert_probabilities: list[list[list[float]]] = field(default_factory=list)
    """Those of each expert alone [K, A], over the legal actions."""
    legal: list[list[int]] = field(default_factory=list)
    """Legal actions; empty where the environment has no mask."""
    action: list[int] = field(default_factory=list)
    """The action taken."""
    value: list[float] = field(default_factory=list)
    """The critic's estimate of the discounted return."""
    reward: list[float] = field(default_factory=list)
    """Reward of the action."""
    score: list[float] = field(default_factory=list)
    """Raw score before the action; the return so far where the environment has none."""
    measures: dict[str, list[float | None]] = field(default_factory=dict)
    """The environment's own measures before the action, by their entry in `info`; None where it lacks that."""
    scene: list[list[int]] = field(default_factory=list)
    """Numbers of the scene's flags that hold."""
    level: list[str] = field(default_factory=list)
    """Name of the level that the screen shows; empty where there is only one."""
    message: list[str] = field(default_factory=list)
    """The environment's message."""
    nodes: list[dict[str, Any]] = field(default_factory=list)
    """The graph: `types` [n], `distances` [n], `cells` [n, 2] or None, `edges` (i attends to j: triples i, j, type),
    `attention` [H, n] of the ego node in the encoder's last layer, empty without."""
    final_score: float = 0.0
    """Raw score at the end."""
    final_measures: dict[str, float | None] = field(default_factory=dict)
    """The environment's own measures at the end."""
    ending: str = ""
    """Ending of the episode, in the environment's words where it has some, else `terminated` or `truncated`."""

    @property
    def steps(self) -> int:
        """Steps of the episode."""
        return len(self.action)

    @property
    def experts(self) -> list[str]:
        """Names of the experts [K]."""
        return expert_names(self.num_experts, self.description.role_names)


def record(
    environment: EnvironmentConfig, player: Player, seed: int, on_step: Callable[[int], None] | None = None
) -> Recording:
    """Play one episode with a `watched` player, in an environment that is asked to render text where it can.

    `on_step` is told the number of steps after each.
    """
    with closing(_make_env(environment)) as env:
        actor = player.actor(env)
        description = describe(env)
        recording = Recording(seed=seed, description=description)
        observation, info = env.reset(seed=seed)
        memory = actor.start(seed)
        total, done = 0.0, False
        while not done:
            choice = actor.act({name: np.asarray(leaf)[None] for name, leaf in observation.items()}, [memory])
            assert choice.output is not None
            action = int(choice.actions[0])
            _add_screen(recording, env)
            _add_decision(recording, choice.output, observation.get("action_mask"))
            recording.nodes.append(_graph(observation, description, env, choice.output))
            recording.message.append(description.message(env))
            recording.level.append(description.level(env))
            _add_info(recording, info, total)
            observation, reward, terminated, truncated, info = env.step(action)
            total += float(reward)
            recording.action.append(action)
            recording.reward.append(round(float(reward), DIGITS))
            done = terminated or truncated
            if on_step:
                on_step(recording.steps)
    recording.final_score = float(info.get("score", total))
    recording.final_measures = {name: rounded(info.get(name), DIGITS) for name in description.measured}
    recording.ending = description.ending_of(info, terminated=terminated)
    return recording


def _make_env(environment: EnvironmentConfig) -> gymnasium.Env[Any, Any]:
    env = make_configured(environment)
    if "ansi" not in (env.metadata.get("render_modes") or ()) or env.render_mode is not None:
        return env
    env.close()
    return make_configured(environment, render_mode="ansi")


def _add_screen(recording: Recording, env: gymnasium.Env[Any, Any]) -> None:
    shown: Any = env.render() if env.render_mode == "ansi" else None
    if isinstance(shown, str):
        recording.screens.append(parse_ansi(shown))


def _add_decision(recording: Recording, output: PolicyOutput, action_mask: np.ndarray | None) -> None:
    logits = output.expert_logits[0]  # [K, A]
    if action_mask is not None:
        logits = logits.masked_fill(torch.as_tensor(action_mask) == 0, ILLEGAL)
    recording.num_experts = len(logits)
    recording.num_heads = 0 if output.attention is None else output.attention.shape[1]
    recording.gate.append(rounded(output.gate[0], DIGITS))
    recording.probabilities.append(rounded(output.logits[0].softmax(-1), DIGITS))
    recording.expert_probabilities.append(rounded(logits.softmax(-1), DIGITS))
    recording.value.append(round(float(output.value[0]), DIGITS))
    recording.legal.append([] if action_mask is None else np.flatnonzero(action_mask).tolist())


def _add_info(recording: Recording, info: Mapping[str, Any], total: float) -> None:
    flags = info.get("scene", {})
    recording.scene_names = recording.scene_names or list(flags)
    recording.scene.append([place for place, name in enumerate(recording.scene_names) if flags.get(name)])
    recording.score.append(float(info.get("score", total)))
    for name in recording.description.measured:
        recording.measures.setdefault(name, []).append(rounded(info.get(name), DIGITS))


def _graph(
    observation: Mapping[str, np.ndarray],
    description: GraphDescription,
    env: gymnasium.Env[Any, Any],
    output: PolicyOutput,
) -> dict[str, Any]:
    count = int(observation["node_mask"].sum())
    edges = observation["edges"][:count, :count]
    cells = description.cells(env)
    types = observation["node_types"][:count] if "node_types" in observation else np.zeros(count, int)
    return {
        "types": types.tolist(),
        "distances": description.distances(observation).tolist(),
        "cells": None if cells is None else cells.tolist(),
        # One entry for an edge that runs both ways.
        "edges": [
            [i, j, int(edges[i, j])] for i, j in np.argwhere(edges).tolist() if i < j or edges[j, i] != edges[i, j]
        ],
        "attention": [] if output.attention is None else rounded(output.attention[0, :, :count], DIGITS),
    }
