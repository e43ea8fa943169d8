"""The whole loss of a minibatch against a plain form: graph by graph, expert by expert, row by row.

And whole iterations in mixed precision, and on a GPU where there is one.
"""

from __future__ import annotations

import itertools
import math
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.policy.sample_batch import SampleBatch
from ray.rllib.utils.torch_utils import convert_to_torch_tensor
from torch import Tensor
from torch.nn import functional

from rllib_moe.algorithms.build import algorithm_config
from rllib_moe.algorithms.policy import MoEPPOPolicy, shuffled_pairs
from rllib_moe.envs.registry import make_env
from rllib_moe.envs.seeding import EpisodeSeeds
from rllib_moe.experiment import Experiment
from rllib_moe.models.policy_network import GATMoEPolicy
from rllib_moe.models.rllib_model import IS_FOLLOWED
from rllib_moe.models.router import SCALE
from rllib_moe.sampling.guarded_environments import GuardedEnvironments
from rllib_moe.sampling.vector_sampler import VectorSampler
from rllib_moe.sampling.watchdog import Watchdog
from rllib_moe.schedule.overrides import override_schedule
from tests.conftest import SMALL, SmallConfig

EVERY_LOSS = {
    "*.alpha_entropy_coef": 0.05,
    "*.alpha_entropy_target": 0.7,
    "*.load_balance_coef": 0.01,
    "*.diversity_coef": 0.01,
    "*.persistence_coef": 0.3,
    "*.role_coef": 0.2,
}


def sparsemax(scores: list[float]) -> list[float]:
    """By its definition (https://arxiv.org/abs/1602.02068, algorithm 1): sort, find the support, cut."""
    ordered = sorted(scores, reverse=True)
    size = max(k for k in range(1, len(scores) + 1) if 1 + k * ordered[k - 1] > sum(ordered[:k]))
    threshold = (sum(ordered[:size]) - 1) / size
    return [max(score - threshold, 0.0) for score in scores]


def plain_router(network: GATMoEPolicy, z: Tensor, candidate: int) -> list[float]:
    router = network.router
    hidden = torch.tanh(router.hidden((z - z.mean()) / (z.var(unbiased=False) + 1e-6).sqrt()))
    hidden = hidden.chunk(router.num_candidates)[candidate]
    hidden = (hidden - hidden.mean()) / (hidden.var(unbiased=False) + 1e-6).sqrt()
    raw = [float(hidden @ row / row.norm()) for row in router.directions[candidate]]
    spread = zip(raw, router.mean[candidate], router.std[candidate], strict=True)
    return [SCALE * (value - float(mean)) / float(std) for value, mean, std in spread]


def plain_experts(network: GATMoEPolicy, z: Tensor) -> list[Tensor]:
    bank, shared = network.experts, network.experts.shared
    always = functional.silu(shared.hidden_weight @ z + shared.hidden_bias) @ shared.output_weight[0]
    always += shared.output_bias[0, 0]
    weights, biases = bank.hidden_weight.chunk(bank.num_experts), bank.hidden_bias.chunk(bank.num_experts)
    return [
        functional.silu(weights[k] @ z + biases[k]) @ bank.output_weight[k] + bank.output_bias[k, 0] + always
        for k in range(bank.num_experts)
    ]


@torch.no_grad()
def plain_loss(policy: Any, rows: dict[str, Any]) -> tuple[float, list[float]]:
    """PPO's clipped loss, the critic's, the entropy bonus and the routing losses, written out.

    Returns:
        The loss, and by which loss the router's candidates are compared: persistence and roles, weighted, each's own.
    """
    network, config = policy.model.network, policy.config
    temperature = network.phase.value("temperature")
    per_row, candidates, gates, experts = [], [], [], []
    for i in range(len(rows["actions"])):
        leaves = convert_to_torch_tensor({name: leaf[i : i + 1] for name, leaf in rows["obs"].items()})
        state = network.encoder(leaves)  # alone: no buckets, no neighbors
        z = state.z[0]
        routed = [plain_router(network, state.leaves["graph"][0], m) for m in range(network.router.num_candidates)]
        gate = sparsemax([score / temperature for score in routed[int(network.router.chosen)]])
        opinions = plain_experts(network, z)
        mixed = sum(weight * opinion for weight, opinion in zip(gate, opinions, strict=True))
        logp = torch.log_softmax(torch.as_tensor(mixed), -1)
        ratio = math.exp(float(logp[int(rows["actions"][i])]) - float(rows["action_logp"][i]))
        clip, advantage = config["clip_param"], float(rows["advantages"][i])
        surrogate = min(ratio * advantage, min(max(ratio, 1 - clip), 1 + clip) * advantage)
        error = float(network.critic(z)) - float(rows["value_targets"][i])
        entropy = -float((logp.exp() * logp).sum())
        per_row.append(-surrogate + config["vf_loss_coeff"] * error**2 - policy.entropy_coeff * entropy)
        candidates.append(routed)
        gates.append(gate)
        experts.append(opinions)

    scores = [routed[int(network.router.chosen)] for routed in candidates]
    number = len(gates[0])
    means = [float(np.mean([row[k] for row in scores])) for k in range(number)]
    apart = [sparsemax([(row[k] - means[k]) / temperature for k in range(number)]) for row in scores]
    held = float(np.mean([-sum(p * math.log(p) for p in gate if p > 0) for gate in apart]))
    distance = abs(held - network.phase.value("alpha_entropy_target"))
    alpha = distance - 0.025 if distance >= 0.05 else 10 * distance**2
    balance = number * sum(float(np.mean([gate[k] for gate in gates])) ** 2 for k in range(number)) - 1
    cosines = []
    for opinions in experts:
        centered = [opinion - opinion.mean() for opinion in opinions]
        for one, other in itertools.combinations(centered, 2):
            norms = math.sqrt((float(one @ one) + 1e-4) * (float(other @ other) + 1e-4))
            cosines.append(max(0.0, float(one @ other) / norms))
    phase, division = network.phase, []
    coefs = phase.value("persistence_coef"), phase.value("role_coef")
    for each in zip(*candidates, strict=True):
        persistence = plain_persistence(list(each), rows[IS_FOLLOWED])
        role, belongs = 0.0, np.asarray(rows["obs"]["roles"], float)
        standardized = (np.array(each) - np.mean(each, 0)) / np.sqrt(np.var(each, 0) + 1e-6)
        for score, weights in zip(2 * standardized + np.log(belongs.mean(0)), belongs, strict=True):
            total = sum(math.exp(value) for value in score)
            role -= sum(weight * (value - math.log(total)) for weight, value in zip(weights, score, strict=True)) / len(
                scores
            )
        division.append((coefs[0] * persistence + coefs[1] * role) / sum(coefs))
    loss = (
        float(np.mean(per_row))
        + phase.value("alpha_entropy_coef") * alpha
        + phase.value("load_balance_coef") * balance
        + phase.value("diversity_coef") * float(np.mean(cosines))
        + sum(coefs) * sum(division)  # all candidates learn
    )
    return loss, division


def plain_persistence(scores: list[list[float]], is_followed: Any) -> float:
    """Minus the mutual information of the choices in two consecutive rows, at a sixteenth of the temperature."""
    choices = []
    for score in scores:
        weights = [math.exp(16 * value) for value in score]
        choices.append([weight / sum(weights) for weight in weights])
    pairs = [(choices[i], choices[i + 1]) for i in range(len(choices) - 1) if is_followed[i]]
    number = len(scores[0])
    joint = [
        [sum(a[i] * b[j] + a[j] * b[i] for a, b in pairs) / (2 * len(pairs)) for j in range(number)]
        for i in range(number)
    ]
    use = [sum(row) for row in joint]
    both = -sum(p * math.log(p) for row in joint for p in row)
    return both - 2 * 1.3 * -sum(p * math.log(p) for p in use)


def play(**options: Any) -> tuple[Any, SampleBatch]:
    """A policy in transition (a target below ln K, sparsemax), with options of RLlib's, and the 40 rows it played."""
    sizes = {"shared_hidden_size": 8, "router_candidates": 3, "batch_size": 40, "minibatch_size": 40}
    experiment = Experiment().with_overrides({**SMALL, **sizes, "num_workers": 0})
    config = algorithm_config(experiment)
    environments: list[Any] = [EpisodeSeeds(make_env("regimes", max_steps=16), (5, e)) for e in range(4)]
    torch.manual_seed(0)
    spaces = environments[0].observation_space, environments[0].action_space
    policy: Any = MoEPPOPolicy(*spaces, config.to_dict() | options)
    schedule = override_schedule(experiment.schedule, EVERY_LOSS)
    policy.request_phase(schedule.at(2000), 2000)
    watchdog = Watchdog(60)
    guarded = GuardedEnvironments(environments, lambda e, _: environments[e], watchdog)
    return policy, VectorSampler(guarded, policy, config, watchdog).get_data()


def test_the_whole_loss_is_that_of_the_plain_form() -> None:
    """With other weights than those that played: ratios are not 1."""
    policy, batch = play()
    rows = deepcopy(dict(shuffled_pairs(batch)))
    assert 0 < rows[IS_FOLLOWED].sum() <= 20
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        policy.model.network.router.std.mul_(0.125)  # some gates with zeros
        policy.model.network.router.chosen.fill_(1)
    expected, division = plain_loss(policy, rows)  # first: learning moves the router's statistics
    minibatch = SampleBatch(convert_to_torch_tensor(rows))
    minibatch.set_training(True)
    (found,) = policy.model.custom_loss([policy.loss(policy.model, policy.dist_class, minibatch)], minibatch)
    assert (policy.model._cached().gate == 0).any()
    assert found.item() == pytest.approx(expected, abs=1e-5)
    assert policy.model.network.router.loss.tolist() == pytest.approx(division, abs=1e-5)


@pytest.mark.parametrize("gpus", [{}, {"num_gpus": 2, "_fake_gpus": True}], ids=["one", "two"])
def test_the_gradient_is_clipped_after_the_mean_over_gpus(gpus: dict[str, Any]) -> None:
    policy, batch = play(grad_clip=1e-3, **gpus)
    assert len(policy.model_gpu_towers) == gpus.get("num_gpus", 1)
    norms: list[float] = []

    def step() -> None:
        for group in policy._optimizers[0].param_groups:
            gradients = [each.grad.norm() for each in group["params"] if each.grad is not None]
            norms.append(float(torch.stack(gradients).norm()))

    policy._optimizers[0].step = step
    policy.load_batch_into_buffer(batch)
    policy.learn_on_loaded_batch()
    assert norms == pytest.approx([1e-3, 1e-3], rel=1e-2)
    (reported,) = {tower.metrics()["grad_norm"] for tower in policy.model_gpu_towers}
    assert reported > 0.01  # before it was clipped


@pytest.mark.parametrize("algo", ["ppo", "appo"])
def test_a_run_in_mixed_precision(small_config: SmallConfig, algo: Any) -> None:
    algorithm = small_config(num_workers=0, algo=algo, mixed_precision=True).build_algo()
    assert algorithm.get_policy().model.network.mixed_precision
    rows = [algorithm.train()["moe"] for _ in range(3)]
    algorithm.stop()
    assert all(math.isfinite(row["loss/total"] + row["loss/grad_norm"]) for row in rows)
    assert rows[-1]["run/skipped_updates"] == 0


@pytest.mark.gpu
@pytest.mark.parametrize("algo", ["ppo", "appo"])
@pytest.mark.parametrize("mixed_precision", [False, True])
def test_a_run_on_a_gpu(small_config: SmallConfig, algo: Any, mixed_precision: bool) -> None:
    """The session's Ray was told of no GPU of its own: `num_gpus` is what Ray finds on the machine."""
    algorithm = small_config(num_workers=1, algo=algo, num_gpus=1, mixed_precision=mixed_precision).build_algo()
    policy = algorithm.get_policy()
    assert policy.device.type == "cuda"
    rows = [algorithm.train()["moe"] for _ in range(3)]
    algorithm.stop()
    assert all(buffer.is_cuda for buffer in policy.model.buffers())
    assert all(math.isfinite(row["loss/total"] + row["loss/grad_norm"]) for row in rows)
    assert rows[-1]["run/skipped_updates"] == 0
