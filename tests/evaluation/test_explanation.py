import json
import math

import numpy as np
import pytest
import torch

from rllib_moe.envs.description import UNREACHABLE
from rllib_moe.evaluation.evaluate import evaluate
from rllib_moe.evaluation.explanation import ATTENTION_SUMS, BAND_NAMES, Explanation, removal_effects
from rllib_moe.evaluation.explanation_report import explanation_tables
from rllib_moe.evaluation.spec import EvaluationRequest
from rllib_moe.models.policy_network import PolicyOutput
from scripts.replay import main
from tests.untrained_checkpoint import save_untrained

EPISODES, STEPS = 4, 12


def run(checkpoint, **fields):
    values = {"checkpoint": str(checkpoint), "episodes": EPISODES, "max_steps": STEPS, "num_workers": 0} | fields
    return evaluate(EvaluationRequest(**values))


@pytest.fixture(scope="module")
def explained(checkpoint, tmp_path_factory):
    place = tmp_path_factory.mktemp("out")
    numbers = run(checkpoint, explain=True, json_file=str(place / "n.json"), plot=str(place / "deep" / "p.png"))
    return numbers, place


def output(gate, expert_logits):
    gate, expert_logits = torch.tensor([gate]), torch.tensor([expert_logits])
    logits = (gate.unsqueeze(-1) * expert_logits).sum(1)
    routed = gate.log()
    return PolicyOutput(logits, torch.zeros(1), gate, torch.zeros(1, 2), routed, routed[None], expert_logits, None)


def test_removal_compares_the_same_state_with_and_without_an_expert():
    # Expert 0 wants action 0 with 3 : 1, expert 1 action 1 with 3 : 1; the gate is 3/4, 1/4. Logits mix:
    # ln 3 * (3/4, 1/4), so the policy has odds 3^(1/2) : 1. Without 0 the odds are 1 : 3, without 1 they are 3 : 1.
    said = output([0.75, 0.25], [[math.log(3), 0.0], [0.0, math.log(3)]])
    changes, divergence = removal_effects(said, None)
    p = math.sqrt(3) / (1 + math.sqrt(3))
    without_0 = p * math.log(p / 0.25) + (1 - p) * math.log((1 - p) / 0.75)
    without_1 = p * math.log(p / 0.75) + (1 - p) * math.log((1 - p) / 0.25)
    assert changes.tolist() == [[True, False]]
    assert divergence[0] == pytest.approx([without_0, without_1], abs=1e-6)
    # With one legal action nothing can change.
    masked = said._replace(logits=said.logits.masked_fill(torch.tensor([[False, True]]), -1e9))
    changes, divergence = removal_effects(masked, torch.tensor([[1, 0]]))
    assert not changes.any()
    assert divergence[0] == pytest.approx([0, 0], abs=1e-9)


def test_one_expert_cannot_be_removed():
    changes, divergence = removal_effects(output([1.0], [[0.0, 1.0]]), None)
    assert (changes.tolist(), divergence.tolist()) == ([[False]], [[0.0]])


def test_attention_is_added_up_by_class_and_distance():
    explanation = Explanation()
    # Ego, two nodes of type 2 at 1 and 4, one of type 1 out of reach; then the ego node alone.
    types, distances = np.array([0, 2, 2, 1]), np.array([0, 1, 4, UNREACHABLE])
    explanation.add_attention(np.array([0.4, 0.3, 0.2, 0.1]), types, distances, 3)
    explanation.add_attention(np.array([1.0]), types[:1], distances[:1], 3)
    by_type = dict(zip(ATTENTION_SUMS, explanation.by_type, strict=True))
    assert by_type["nodes"].tolist() == [2, 1, 2]
    assert by_type["states"].tolist() == [2, 1, 1]
    assert by_type["equal"] == pytest.approx([1.25, 0.25, 0.5])
    assert by_type["attention"] == pytest.approx([1.4, 0.1, 0.5])
    by_distance = dict(zip(BAND_NAMES, explanation.by_distance[ATTENTION_SUMS.index("attention")], strict=True))
    assert by_distance == pytest.approx(
        dict.fromkeys(BAND_NAMES, 0.0) | {"itself": 1.4, "1": 0.3, "3 to 4": 0.2, "out of reach": 0.1}
    )


def test_a_flag_of_the_scene_holds_or_not_whatever_its_type():
    explanation = Explanation()
    explanation.add_state(np.full((2, 4), 0.5), {"dark": 2, "wet": np.False_})
    assert explanation.steps == {"all": 1, "dark": 1, "wet": 0}
    assert [explanation.states[name][0, 0] for name in explanation.steps] == [0.5, 0.5, 0]


def test_counts_every_state_once(explained):
    numbers, _ = explained
    explain = numbers["explain"]
    assert explain["experts"] == ["expert 0", "expert 1", "expert 2", "expert 3"]
    total = explain["by_scene"]["all"]
    assert total["steps"] == numbers["env_steps"] == EPISODES * STEPS
    assert sum(total["leads"]) == pytest.approx(1, abs=1e-5)
    assert total["share"] == pytest.approx(numbers["expert_share"], abs=1e-5)
    for scene, of_gate in numbers["by_scene"].items():
        assert explain["by_scene"][scene]["steps"] == of_gate["steps"]
        assert explain["by_scene"][scene]["share"] == pytest.approx(of_gate["expert_share"], abs=1e-5)
    for leads, purposes in zip(total["leads"], total["purposes"], strict=True):
        assert sum(purposes.values()) == pytest.approx(1 if leads else 0, abs=1e-4)
    for classes in (explain["attention"]["by_class"], explain["attention"]["by_distance"]):
        assert sum(row["attention"] for row in classes.values()) == pytest.approx(1, abs=1e-4)
        assert sum(row["equal"] for row in classes.values()) == pytest.approx(1, abs=1e-4)
    assert explain["attention"]["by_class"]["ego"]["nodes"] == 1


def test_removal_is_judged_on_the_same_seeds(checkpoint, explained):
    numbers, _ = explained
    removed = run(checkpoint, remove_expert=2)
    row = numbers["explain"]["removal"][2]
    differences = np.subtract(removed["episode_scores"], numbers["episode_scores"])
    assert row["score_difference"] == pytest.approx(differences.mean(), abs=1e-5)
    assert row["score_difference_se"] == pytest.approx(differences.std(ddof=1) / math.sqrt(EPISODES), abs=1e-5)
    assert row["score_mean"] == pytest.approx(removed["score_mean"], abs=1e-5)
    assert any(0 < row["changes"] <= 1 and row["divergence"] > 0 for row in numbers["explain"]["removal"])
    # Looking on changes nothing.
    assert run(checkpoint)["episode_scores"] == numbers["episode_scores"]


def test_writes_numbers_picture_and_tables(explained):
    numbers, place = explained
    assert json.loads((place / "n.json").read_text())["explain"] == numbers["explain"]
    assert (place / "deep" / "p.png").read_bytes().startswith(b"\x89PNG")
    tables = list(explanation_tables(numbers["explain"]))
    assert [table.row_count for table in tables] == [
        5,  # all, and the four regimes
        len(numbers["explain"]["attention"]["by_class"]),
        len(numbers["explain"]["attention"]["by_distance"]),
        4,
    ]


def test_does_not_depend_on_how_the_episodes_are_shared_out(checkpoint, explained):
    numbers, _ = explained
    others = run(checkpoint, explain=True, envs_per_worker=1)
    for name, scene in numbers["explain"]["by_scene"].items():
        other = others["explain"]["by_scene"][name]
        assert (scene["steps"], scene["leads"]) == (other["steps"], pytest.approx(other["leads"], abs=1e-5))
        assert scene["divergence"] == pytest.approx(other["divergence"], abs=1e-4)


def test_a_network_without_attention_is_explained_too(tmp_path):
    path = str(save_untrained(tmp_path, "regimes", max_steps=5, graph_encoder="mean"))
    numbers = run(path, max_steps=5, explain=True, plot=str(tmp_path / "p.png"))
    assert numbers["explain"]["attention"] is None
    assert len(list(explanation_tables(numbers["explain"]))) == 2
    assert (
        main(["--checkpoint", path, "--gif", str(tmp_path / "r.gif"), "--out", str(tmp_path / "r.html")])["steps"] == 5
    )
