"""The curriculum callback: carries the phase from the schedule to the learner and every rollout worker.

It decides nothing. `schedule.at(episodes)` does, with the episode count that RLlib checkpoints in the algorithm's
counters, and `apply_phase` is the one function that puts a phase into force; a policy that learns in a thread of its
own says when (`enter_phase`). Works with PPO by itself (also in a Tune trial); `MoEPPO` adds a weight sync before
sampling, for workers that restart unseen.
"""

from __future__ import annotations

import logging
import math
import sys
from functools import partial
from typing import Any, NamedTuple, cast

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.ppo.ppo_torch_policy import PPOTorchPolicy
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.policy.policy import Policy

from rllib_moe.models.phase_state import PhaseState
from rllib_moe.phases import PhaseConfig, PhaseSchedule

EPISODES_COUNTER = "moe_episodes"
"""Key of the global episode count in `algorithm._counters`, which RLlib saves and restores."""

FIRST_EPISODE = "first_episode"
"""Key in `env_config` of the episode that a run goes on from."""

LOG_EVERY = 100
"""Episodes between two regular log lines."""

logger = logging.getLogger("rllib_moe.curriculum")


def apply_phase(policy: PPOTorchPolicy, phase: PhaseConfig, episodes: int) -> None:
    """Put a phase into force on one policy: gate, temperature, all coefficients and the learning rate.

    Args:
        policy: A policy whose model is a `GATMoEModel`.
        phase: What should hold.
        episodes: The global episode count it belongs to.
    """
    policy.model.network.phase.apply_phase(phase, episodes)
    follow_phase(policy)


class InForce(NamedTuple):
    """What a policy learns under, as its model and optimizer hold it."""

    phase: PhaseState
    learning_rate: float

    @classmethod
    def of(cls, policy: PPOTorchPolicy) -> InForce:
        """Read it back; the phase is the model's own, not a copy."""
        return cls(policy.model.network.phase, policy._optimizers[0].param_groups[0]["lr"])


def follow_phase(policy: PPOTorchPolicy) -> None:
    """Make the optimizer and the loss agree with the phase that the policy's model holds.

    RLlib's own learning rate and entropy schedules stay unset, or they would overwrite these values.
    """
    state = policy.model.network.phase
    learning_rate, entropy_coef = state.value("learning_rate"), state.value("entropy_coef")
    if (policy.cur_lr, policy.entropy_coeff) == (learning_rate, entropy_coef) and all(
        group["lr"] == learning_rate for optimizer in policy._optimizers for group in optimizer.param_groups
    ):
        return
    for optimizer in policy._optimizers:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
    policy.cur_lr = learning_rate
    policy.entropy_coeff = entropy_coef


def schedule_of(algorithm: Algorithm) -> PhaseSchedule:
    """The schedule in an algorithm's configuration.

    Raises:
        ScheduleError: it is missing or faulty.
    """
    schedule = algorithm.config.get("schedule") if algorithm.config else None
    return PhaseSchedule.from_dict(schedule or {}, "the algorithm's `schedule`")


def policy_of(algorithm: Algorithm) -> PPOTorchPolicy:
    """The learner's policy; its model is a `GATMoEModel`."""
    return cast(PPOTorchPolicy, algorithm.get_policy())


def send_weights(algorithm: Algorithm) -> None:
    """Send the learner's weights, with the phase in their buffers, to the remote rollout workers."""
    group = algorithm.env_runner_group
    if group is not None and group.num_remote_env_runners():
        group.sync_weights()


def episodes_of(algorithm: Algorithm) -> int:
    """Episodes finished over the whole run, resumed parts included."""
    return int(algorithm._counters[EPISODES_COUNTER])


class PhaseCurriculum(RLlibCallback):
    """Keeps the phase of learner and rollout workers at `schedule.at(episodes)`.

    The schedule is read from the algorithm's configuration (`MoEPPOConfig.schedule`), the count from its counters.
    """

    def on_algorithm_init(self, *, algorithm: Algorithm, **kwargs: Any) -> None:
        """Apply the first phase before anything is sampled; where a checkpoint is loaded next, without a word."""
        if not logger.hasHandlers():  # nobody configured logging, as in the process of a Tune trial
            logger.addHandler(logging.StreamHandler(sys.stdout))
            logger.setLevel(logging.INFO)
        super().on_algorithm_init(algorithm=algorithm, **kwargs)
        config = cast(AlgorithmConfig, algorithm.config)
        first = int(config.env_config.get(FIRST_EPISODE, 0))
        algorithm._counters[EPISODES_COUNTER] = first
        self._enter(algorithm, schedule_of(algorithm), before=first or None)

    def on_train_result(self, *, algorithm: Algorithm, result: dict[str, Any], **kwargs: Any) -> None:
        """Count the iteration's episodes and apply the phase they lead to, before the workers sample again."""
        super().on_train_result(algorithm=algorithm, result=result, **kwargs)
        before = episodes_of(algorithm)
        # Absent when every worker failed in this iteration.
        algorithm._counters[EPISODES_COUNTER] += result.get("env_runners", {}).get("num_episodes", 0)
        result["episodes_total"] = episodes_of(algorithm)
        self._enter(algorithm, schedule_of(algorithm), before)

    def on_checkpoint_loaded(self, *, algorithm: Algorithm, **kwargs: Any) -> None:
        """Apply the phase of the restored count: a checkpoint does not hold all of it (RLlib loses `cur_lr`)."""
        super().on_checkpoint_loaded(algorithm=algorithm, **kwargs)
        self._enter(algorithm, schedule_of(algorithm), before=None)

    def on_env_runners_recreated(self, *, env_runner_group: Any, **kwargs: Any) -> None:
        """Send the weights, with the phase in their buffers, to workers that came back."""
        super().on_env_runners_recreated(env_runner_group=env_runner_group, **kwargs)
        env_runner_group.sync_weights()

    def on_learn_on_batch(self, *, policy: Policy, train_batch: Any, result: dict[str, Any], **kwargs: Any) -> None:
        """Mend a policy that was restored by `Algorithm.from_checkpoint`, which fires no other hook."""
        super().on_learn_on_batch(policy=policy, train_batch=train_batch, result=result, **kwargs)
        follow_phase(cast(PPOTorchPolicy, policy))

    def _enter(self, algorithm: Algorithm, schedule: PhaseSchedule, before: int | None) -> None:
        """Put the phase of the present count into force everywhere, and say so in the log where there is need to.

        Args:
            algorithm: The algorithm.
            schedule: Its schedule.
            before: The count at the last call, None when nothing was in force.
        """
        episodes = episodes_of(algorithm)
        phase = schedule.at(episodes)
        policy = policy_of(algorithm)
        enter = getattr(policy, "enter_phase", None) or partial(apply_phase, policy)
        enter(phase, episodes)
        send_weights(algorithm)
        experts = policy.model.network.router.num_experts
        if before is None or schedule.index_at(before) != schedule.index_at(episodes):
            logger.info("%s", banner(phase, episodes, schedule.end_of(schedule.index_at(episodes)), experts))
        if before is None or before // LOG_EVERY != episodes // LOG_EVERY:
            logger.info("Episode %d, Routing: %s, Phase: %s", episodes, phase.routing.capitalize(), phase.name)


def banner(phase: PhaseConfig, episodes: int, end: int | None, num_experts: int) -> str:
    """The line that says a phase begins (or is resumed)."""
    until = "on" if end is None else f"to {end - 1}"
    target = "bonus"
    if phase.alpha_entropy_target is not None:
        target = f"target {min(phase.alpha_entropy_target, math.log(num_experts)):.3g} nats"
    return (
        f"===== {phase.name.upper()} from episode {episodes} {until}: {phase.routing}, "
        f"temperature {phase.temperature:.3g}, learning rate {phase.learning_rate:.1e}, "
        f"entropy {phase.entropy_coef:g}, alpha entropy {phase.alpha_entropy_coef:g} ({target}), "
        f"load balance {phase.load_balance_coef:g}, diversity {phase.diversity_coef:g} ====="
    )
