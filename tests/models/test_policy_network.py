"""The whole network: masks, removed experts, determinism, sizes from configuration, and the weighted losses."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from rllib_moe.config import ModelConfig
from rllib_moe.envs.graph_space import GraphShape, graph_space
from rllib_moe.models.experts import combine_experts
from rllib_moe.models.policy_network import ILLEGAL, GATMoEPolicy, PolicyOutput, load_weights, phase_of
from rllib_moe.models.router import SCALE
from rllib_moe.models.routing import gate_weights
from rllib_moe.schedule.phases import PhaseSchedule
from rllib_moe.validation.errors import ConfigError
from tests.models.graph_batches import box, random_observation, rows, zeros_like

NUM_ACTIONS = 5
SMALL: dict[str, Any] = {
    "hidden_size": 12,
    "num_heads": 3,
    "trunk_size": 10,
    "expert_hidden_size": 6,
    "category_size": 3,
}
LEAVES: dict[str, dict[str, Any]] = {
    "all leaves": {"num_node_types": 3, "num_actions": NUM_ACTIONS, "extras": {"crop": box(4, 2, 2)}},
    "required leaves": {},
    "mask only": {"num_actions": NUM_ACTIONS},
    "types only": {"num_node_types": 3},
    "extras only": {"extras": {"crop": box(4, 2, 2), "map": spaces.Box(0, 1, (3,), np.float32)}},
}


def shape(leaves: str = "all leaves") -> GraphShape:
    space = graph_space(max_nodes=6, node_features=3, features=4, num_edge_types=2, **LEAVES[leaves])
    return GraphShape.from_space(space)


def network(leaves: str = "all leaves", episode: int | None = None, **sizes: Any) -> GATMoEPolicy:
    """A small network with gates far from uniform, so that mistakes show; under v3's phase at `episode`."""
    torch.manual_seed(0)
    built = GATMoEPolicy(shape(leaves), NUM_ACTIONS, ModelConfig(**(SMALL | sizes)))
    with torch.no_grad():
        built.router.std.fill_(SCALE / 3)
    if episode is not None:
        built.phase.apply_phase(PhaseSchedule.load("v3").at(episode), episode)
    return built


def assert_equal(one: PolicyOutput, other: PolicyOutput) -> None:
    for name in ("logits", "value", "gate", "expert_logits"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name


class TestOutput:
    @pytest.mark.parametrize("leaves", LEAVES)
    @pytest.mark.parametrize("batch", [1, 4, 300])
    def test_shapes_whatever_leaves_there_are(self, leaves: str, batch: int) -> None:
        observation = random_observation(shape(leaves), batch)
        output = network(leaves)(observation, return_attention=True)
        assert output.logits.shape == (batch, NUM_ACTIONS)
        assert output.value.shape == (batch,)
        assert output.gate.shape == (batch, 4)
        assert output.expert_logits.shape == (batch, 4, NUM_ACTIONS)
        assert output.attention is not None
        assert output.attention.shape == (batch, 3, 6)
        torch.testing.assert_close(output.gate.sum(1), torch.ones(batch))

    @pytest.mark.parametrize("leaves", LEAVES)
    @pytest.mark.parametrize("episode", [0, 1000, 3000])
    def test_all_zero_observation_is_finite(self, leaves: str, episode: int) -> None:
        built = network(leaves, episode)
        observation = zeros_like(random_observation(shape(leaves), 3))
        output = built(observation)
        for part in (output.logits, output.value, output.gate, output.expert_logits):
            assert part.isfinite().all()
        loss = built.auxiliary_losses(output, observation).total
        (loss + output.value.sum() + output.logits.softmax(-1).square().sum()).backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in built.parameters())

    def test_logits_are_the_experts_mixed_by_the_gate(self) -> None:
        output = network("required leaves")(random_observation(shape("required leaves"), 20))
        expected = torch.einsum("bk,bka->ba", output.gate, output.expert_logits)
        torch.testing.assert_close(output.logits, expected)

    def test_gate_is_that_of_the_phase(self) -> None:
        observation = random_observation(shape(), 50)
        for episode, routing, temperature in ((0, "softmax", 1.0), (2000, "sparsemax", 0.75), (3000, "sparsemax", 0.5)):
            built = network(episode=episode)
            logits = built.router(built.encoder(observation).leaves["graph"])
            torch.testing.assert_close(built(observation).gate, gate_weights(logits, routing, temperature))

    def test_phase_is_read_from_weights(self) -> None:
        state = phase_of(network(episode=2000).state_dict())
        # Halfway from 1000 to 3000, halfway from 1.0 to 0.5.
        assert (state.routing, state.value("temperature"), int(state.episodes)) == ("sparsemax", 0.75, 2000)

    def test_phase_moves_the_gate_alone(self) -> None:
        observation = random_observation(shape(), 20)
        soft, sparse = network(episode=0)(observation), network(episode=3000)(observation)
        assert torch.equal(soft.expert_logits, sparse.expert_logits)
        assert torch.equal(soft.value, sparse.value)
        assert (soft.gate > 0).all()
        assert (sparse.gate == 0).any()


class TestActionMask:
    @pytest.mark.parametrize("leaves", ["all leaves", "mask only"])
    def test_illegal_actions_have_no_probability_and_legal_logits_are_untouched(self, leaves: str) -> None:
        observation = random_observation(shape(leaves), 50)
        output = network(leaves)(observation)
        legal = observation["action_mask"].bool()
        assert (output.logits[~legal] == ILLEGAL).all()
        assert (output.logits.softmax(-1)[~legal] == 0).all()
        assert torch.equal(output.logits[legal], combine_experts(output.gate, output.expert_logits)[legal])

    def test_no_legal_action_is_uniform(self) -> None:
        observation = random_observation(shape(), 3)
        observation["action_mask"].zero_()
        probability = network()(observation).logits.softmax(-1)
        torch.testing.assert_close(probability, torch.full((3, NUM_ACTIONS), 1 / NUM_ACTIONS))

    def test_mask_of_another_width_is_refused(self) -> None:
        with pytest.raises(ValueError, match="action_mask: expected 6 actions, got 5"):
            GATMoEPolicy(shape(), 6, ModelConfig())


class TestRemovedExperts:
    @pytest.mark.parametrize("episode", [0, 3000])
    @pytest.mark.parametrize("removed", range(4))
    def test_gate_is_zero_and_the_others_share(self, removed: int, episode: int) -> None:
        built, observation = network(episode=episode), random_observation(shape(), 60)
        available = torch.arange(4) != removed
        whole, output = built(observation), built(observation, available_experts=available)
        assert (output.gate[:, removed] == 0).all()
        torch.testing.assert_close(output.gate.sum(1), torch.ones(60))
        # Where something is left, it is the gate of before, renormalized.
        left = whole.gate[:, available].sum(1, keepdim=True)
        kept = (left > 1e-3).squeeze(1)
        assert kept.any()
        torch.testing.assert_close(output.gate[kept][:, available], (whole.gate[:, available] / left)[kept])

    def test_its_opinion_does_not_count(self) -> None:
        built, observation = network(), random_observation(shape(), 20)
        available = torch.tensor([True, False, True, True])
        before = built(observation, available_experts=available).logits
        with torch.no_grad():
            built.experts.output_weight[1].normal_()
        assert torch.equal(built(observation, available_experts=available).logits, before)

    def test_all_available_changes_nothing(self) -> None:
        built, observation = network(), random_observation(shape(), 20)
        output = built(observation, available_experts=torch.ones(4, dtype=torch.bool))
        torch.testing.assert_close(output.logits, built(observation).logits)


class TestDeterminism:
    @pytest.mark.parametrize("episode", [0, 2000, 3000])
    def test_train_and_eval_agree_bit_by_bit(self, episode: int) -> None:
        built, observation = network(episode=episode), random_observation(shape(), 300)
        learning = built.train()(observation)
        assert_equal(built(observation), learning)
        sampling = built.eval()(observation)
        assert_equal(sampling, learning)
        with torch.no_grad():
            assert_equal(built(observation), learning)

    def test_forward_changes_no_state(self) -> None:
        built = network(episode=0).train()
        before = {name: value.clone() for name, value in built.state_dict().items()}
        built(random_observation(shape(), 30))
        for name, value in built.state_dict().items():
            torch.testing.assert_close(value, before[name], rtol=0, atol=0, equal_nan=True)

    def test_rows_do_not_see_each_other(self) -> None:
        # A rollout worker's batch and a minibatch hold the same row in other company.
        built, observation = network(episode=3000), random_observation(shape(), 400)
        some = torch.randperm(400, generator=torch.Generator().manual_seed(0))[:37]
        torch.testing.assert_close(
            built(rows(observation, some)).logits, built(observation).logits[some], rtol=1e-5, atol=1e-5
        )

    def test_same_seed_same_weights(self) -> None:
        for one, other in zip(network().parameters(), network().parameters(), strict=True):
            assert torch.equal(one, other)


class TestSizes:
    @pytest.mark.parametrize(
        "sizes",
        [
            {},
            {"num_layers": 1},
            {"num_layers": 4, "num_heads": 1},
            {"hidden_size": 32, "num_heads": 8},
            {"num_experts": 1},
            {"num_experts": 7},
            {"trunk_size": 2, "expert_hidden_size": 1, "critic_hidden_size": 1, "category_size": 1},
            {"hidden_size": 2, "num_heads": 1},
        ],
        ids=str,
    )
    @pytest.mark.parametrize("episode", [0, 3000])
    def test_are_configuration(self, sizes: dict[str, int], episode: int) -> None:
        built, observation = network(episode=episode, **sizes), random_observation(shape(), 8)
        config = ModelConfig(**(SMALL | sizes))
        assert len(built.encoder.graph.layers) == config.num_layers
        assert built.encoder.graph.embed.out_features == config.hidden_size
        assert built.experts.hidden_weight.shape == (config.num_experts * config.expert_hidden_size, config.trunk_size)
        assert built.critic[0].out_features == config.critic_hidden_size
        output = built(observation)
        assert output.gate.shape == (8, config.num_experts)
        loss, raw, _ = built.auxiliary_losses(output, observation)
        (output.logits.softmax(-1).square().sum() + output.value.sum() + loss).backward()
        for name, parameter in built.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
        assert all(each.isfinite() for each in raw.values())

    def test_one_expert_is_a_plain_policy(self) -> None:
        built, observation = network(num_experts=1), random_observation(shape("all leaves"), 12)
        output = built(observation)
        assert (output.gate == 1).all()
        legal = observation["action_mask"].bool()
        assert torch.equal(output.logits[legal], output.expert_logits[:, 0][legal])
        raw = built.auxiliary_losses(output, observation).raw
        assert [raw[name].item() for name in ("alpha_entropy", "load_balance", "diversity")] == [0.0] * 3


class TestAuxiliaryLosses:
    @pytest.mark.parametrize(
        ("episode", "alpha_entropy", "load_balance", "diversity"),
        [(0, 0.1, 0.02, 0.01), (1000, 0.05, 0.01, 0.01), (3000, 0.05, 0.005, 0.005)],
    )
    def test_sum_is_v3s_coefficients_times_the_raw_losses(
        self, episode: int, alpha_entropy: float, load_balance: float, diversity: float
    ) -> None:
        built, observation = network(episode=episode), random_observation(shape(), 40)
        total, raw, _ = built.auxiliary_losses(built(observation), observation)
        assert set(raw) == {"alpha_entropy", "load_balance", "diversity", "persistence"}
        assert total.shape == ()
        expected = (
            alpha_entropy * raw["alpha_entropy"].item()
            + load_balance * raw["load_balance"].item()
            + diversity * raw["diversity"].item()
        )
        assert total.item() == pytest.approx(expected, rel=1e-5)

    def test_raw_losses_by_their_formulas(self) -> None:
        built, observation = network("required leaves", episode=0), random_observation(shape("required leaves"), 40)
        output = built(observation)
        raw = built.auxiliary_losses(output, {}).raw
        share = output.gate.mean(0)
        assert raw["load_balance"].item() == pytest.approx(4 * share.square().sum().item() - 1, rel=1e-4, abs=1e-6)
        centered = output.expert_logits - output.expert_logits.mean(-1, keepdim=True)
        cosines = [
            torch.nn.functional.cosine_similarity(centered[:, i], centered[:, j]).clamp(min=0)
            for i in range(4)
            for j in range(i)
        ]
        assert raw["diversity"].item() == pytest.approx(torch.stack(cosines).mean().item(), abs=2e-3)

    def test_without_coefficients_nothing_is_added(self) -> None:
        built, observation = network(), random_observation(shape(), 10)
        total, raw, _ = built.auxiliary_losses(built(observation), observation)
        assert total.item() == 0
        assert any(each.item() != 0 for each in raw.values())

    def test_gradients_reach_router_and_experts(self) -> None:
        built, observation = network(episode=0), random_observation(shape(), 40)
        total = built.auxiliary_losses(built(observation), observation).total
        total.backward()
        for part in (built.router.directions, built.experts.output_weight):
            assert part.grad is not None
            assert part.grad.abs().sum() > 0


class TestRouterAndInputs:
    def test_router_and_experts_read_what_they_are_told(self) -> None:
        built = network(router_inputs="graph", expert_inputs="features,crop", episode=0)
        observation, others = random_observation(shape(), 40), random_observation(shape(), 40, seed=1)
        before, graph = built(observation), ("nodes", "node_mask", "node_types", "edges")
        after = built({**observation, **{name: others[name] for name in graph}})
        assert torch.equal(before.expert_logits, after.expert_logits)
        assert not torch.allclose(before.gate, after.gate)
        after = built({**others, **{name: observation[name] for name in graph}})
        assert torch.equal(before.gate, after.gate)
        assert not torch.allclose(before.expert_logits, after.expert_logits)
        assert before.router_input.shape == (40, SMALL["hidden_size"])

    @pytest.mark.parametrize("inputs", ["status", "graph,graph", "state,"])
    def test_unknown_inputs_are_refused(self, inputs: str) -> None:
        with pytest.raises(ConfigError, match="router_inputs: expected state, graph, features, crop, each once, got"):
            network(router_inputs=inputs)

    def test_a_frozen_router_learns_nothing(self) -> None:
        built = network(router="frozen", expert_inputs="features", episode=0)
        observation = random_observation(shape(), 40)
        total = built.auxiliary_losses(built(observation), observation).total
        total.backward()
        assert all(parameter.grad is None for parameter in built.router.parameters())
        assert all(parameter.grad is None for parameter in built.encoder.graph.parameters())  # what it reads
        assert built.experts.output_weight.grad is not None

    def test_roles_can_be_the_router(self) -> None:
        with_roles = GraphShape.from_space(
            graph_space(max_nodes=6, node_features=3, features=4, num_edge_types=2, num_roles=4)
        )
        built = GATMoEPolicy(with_roles, NUM_ACTIONS, ModelConfig(**SMALL, router="roles"))
        observation = random_observation(with_roles, 8)
        assert torch.equal(built(observation).gate, observation["roles"])
        with pytest.raises(ConfigError, match="a role for each of num_experts=3; the environment names 4 roles"):
            GATMoEPolicy(with_roles, NUM_ACTIONS, ModelConfig(**SMALL, router="roles", num_experts=3))
        with pytest.raises(ConfigError, match=r"router: needs a role .* num_experts=4; the environment names no roles"):
            network(router="roles")


class TestSavedWeights:
    def test_those_that_fit_are_taken_and_others_are_named(self) -> None:
        built, weights = network(), network(expert_hidden_size=6).state_dict()
        assert load_weights(built, weights) == []
        assert load_weights(built, network(trunk_size=11).state_dict())[0].startswith(
            "encoder.trunk.0.weight: the check"
        )
        del weights["critic.0.bias"], weights["phase.temperature"]  # what a checkpoint lacks of the phase is off
        assert load_weights(built, weights) == [
            "critic.0.bias: the checkpoint has none, this environment and network need [64]"
        ]

    def test_those_from_before_the_routers_candidates_are_refused_in_a_sentence(self) -> None:
        weights = network().state_dict()
        del weights["router.chosen"]
        (told,) = load_weights(network(), weights)
        assert told.startswith("router: the checkpoint is older than the router's candidates")
