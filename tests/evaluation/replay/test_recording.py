import numpy as np
import pytest

from rllib_moe.evaluation.evaluate import evaluate
from rllib_moe.evaluation.spec import EvaluationRequest


def evaluated(checkpoint, seed):
    return evaluate(EvaluationRequest(checkpoint=str(checkpoint), episodes=1, seed_base=seed, num_workers=0))


def check_columns(recording):
    steps = recording.steps
    for name in ("gate", "probabilities", "expert_probabilities", "legal", "value", "reward", "score"):
        assert len(getattr(recording, name)) == steps, name
    for name in ("scene", "level", "message", "nodes"):
        assert len(getattr(recording, name)) == steps, name
    assert np.sum(recording.gate, axis=1) == pytest.approx(np.ones(steps), abs=1e-3)
    assert np.sum(recording.probabilities, axis=1) == pytest.approx(np.ones(steps), abs=3e-3)
    for nodes in recording.nodes:
        attention = np.array(nodes["attention"])  # [H, n]
        assert attention.shape == (recording.num_heads, len(nodes["types"]))
        assert attention.sum(1) == pytest.approx(np.ones(recording.num_heads), abs=3e-3)


def test_is_the_episode_that_an_evaluation_plays(checkpoint, regimes_recording):
    check_columns(regimes_recording)
    assert evaluated(checkpoint, 3)["episode_scores"] == [regimes_recording.final_score]
    assert (regimes_recording.steps, regimes_recording.ending) == (20, "truncated")
    assert sum(regimes_recording.reward) == regimes_recording.final_score
    assert regimes_recording.screens == []
    # Where one expert has all the weight, the policy is that expert's.
    alone = [step for step, gate in enumerate(regimes_recording.gate) if max(gate) == 1]
    assert alone
    for step in alone:
        expert = int(np.argmax(regimes_recording.gate[step]))
        own = regimes_recording.expert_probabilities[step][expert]
        assert own == pytest.approx(regimes_recording.probabilities[step], abs=1e-3)


def test_shows_nethack_with_the_nodes_where_they_lie(nethack_checkpoint, nethack_recording):
    recording = nethack_recording
    check_columns(recording)
    depths = recording.measures["max_depth"]
    assert recording.ending == "limit of steps"
    assert (len(depths), depths[0], recording.final_measures["max_depth"]) == (recording.steps, 1, max(depths))
    # The screen is only looked at: the game is the one that is played without it.
    assert evaluated(nethack_checkpoint, 3)["episode_scores"] == [recording.final_score]
    assert {len(screen) for screen in recording.screens} == {24}
    assert recording.level[0] == "0.1"  # the first level of the Dungeons of Doom
    width = max(len(line.text) for screen in recording.screens for line in screen)
    assert 60 < width <= 80  # without the blanks at its end
    names = recording.description.node_type_names
    shown = {"ego": "@", "stairs_down": ">", "stairs_up": "<", "gold": "$"}
    found = []
    for nodes, screen in zip(recording.nodes, recording.screens, strict=True):
        for kind, (row, column) in zip(nodes["types"], nodes["cells"], strict=True):
            if names[kind] in shown:
                found.append(screen[row].text[column : column + 1] == shown[names[kind]])
    assert len(found) >= recording.steps
    assert np.mean(found) > 0.9  # somebody may stand on the stairs
    for legal, probabilities, action in zip(recording.legal, recording.probabilities, recording.action, strict=True):
        assert action in legal
        assert all(share == 0 for each, share in enumerate(probabilities) if each not in legal)
