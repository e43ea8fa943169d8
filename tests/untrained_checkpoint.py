"""A checkpoint of an untrained network with decided gates and actions, to be evaluated; nothing could go on from it."""

from pathlib import Path

import torch

from rllib_moe.envs.graph_space import GraphShape
from rllib_moe.envs.registry import make_env
from rllib_moe.experiment import Experiment
from rllib_moe.models.policy_network import GATMoEPolicy
from rllib_moe.training.checkpoints import AlgorithmState, save_checkpoint

EPISODE = 40
"""Episode count of the checkpoint: sparsemax at temperature 0.5 in its schedule."""


def save_untrained(run: Path, env: str, max_steps: int, graph_encoder: str = "attention", **env_args) -> Path:
    """Write it as a checkpoint of the run directory."""
    sizes = {"hidden_size": 16, "num_heads": 2, "trunk_size": 16, "expert_hidden_size": 8, "critic_hidden_size": 8}
    place = {"env": env, "max_steps": max_steps, "env_args": env_args, "phase_boundaries": [10, 30]}
    experiment = Experiment().with_overrides({**sizes, **place, "graph_encoder": graph_encoder})
    made = make_env(env, max_steps=max_steps, **env_args)
    torch.manual_seed(0)
    network = GATMoEPolicy(GraphShape.from_space(made.observation_space), int(made.action_space.n), experiment.model)
    made.close()
    with torch.no_grad():
        network.router.std.fill_(1 / 6)  # logits spread as far as 1.5 at a std of 1
        network.experts.output_weight.mul_(5)
    network.phase.apply_phase(experiment.schedule.at(EPISODE), EPISODE)
    state = AlgorithmState(weights=network.state_dict(), optimizer={}, plain={})
    path = run / "checkpoints" / f"episode_{EPISODE:06d}"
    path.parent.mkdir(exist_ok=True)
    save_checkpoint(state, path, experiment, episodes=EPISODE, iteration=3, score=None)
    return path
