import numpy as np
import pytest
from nle import nethack

from rllib_moe.envs.nethack.features import MESSAGE_CUES, feature_names, write_message_cues

NAMES = feature_names(path_summary=True)


def value(observation, name):
    return observation["features"][NAMES.index(name)]


def test_names_are_unique_and_the_summary_only_appends():
    assert len(set(NAMES)) == len(NAMES)
    base = feature_names(path_summary=False)
    assert NAMES[: len(base)] == base


@pytest.mark.parametrize("hunger", range(7))
def test_hunger_is_a_category(draw, hunger):
    names = [name for name in NAMES if name.startswith("hunger_")]
    observation, flags, *_ = draw("@.", HUNGER=hunger).observe()
    assert [value(observation, name) for name in names] == [float(i == hunger) for i in range(7)]
    # 0 satiated and 1 not hungry are no hunger.
    assert flags["hungry"] == (hunger >= 2)


def test_conditions_are_bits(draw):
    observation, *_ = draw("@.", CONDITION=nethack.BL_MASK_BLIND | nethack.BL_MASK_CONF).observe()
    on = [name for name in NAMES if name.startswith("condition_") and value(observation, name)]
    assert on == ["condition_blind", "condition_conf"]


def test_scales(draw):
    observation, flags, *_ = draw("@.", HP=3, HPMAX=12, DEPTH=3, AC=4, SCORE=10_000, STR25=18).observe()
    # 3/12, depth 3 of 10, armour class 4 of 10, logarithm reaching 1 at 10000, strength 18 of 25.
    assert value(observation, "hp_fraction") == pytest.approx(0.25)
    assert value(observation, "depth") == pytest.approx(0.3)
    assert value(observation, "armor_class") == pytest.approx(0.4)
    assert value(observation, "score") == pytest.approx(1.0)
    assert value(observation, "strength") == pytest.approx(0.72)
    # 3 is less than a third of 12.
    assert flags["hp_low"]


def test_surroundings(draw):
    observation, *_ = draw("|d.", "|@-", "|.>").observe()
    assert [name for name in NAMES if name.startswith("passable_") and value(observation, name)] == [
        "passable_n",
        "passable_s",
        "passable_ne",
        "passable_se",
    ]
    assert [name for name in NAMES if name.startswith("monster_") and value(observation, name)] == ["monster_n"]


def test_path_summary_repeats_the_nearest_node(draw):
    observation, *_ = draw("@.>").observe()
    assert value(observation, "path_way_down_known") == 1
    assert value(observation, "path_way_down_e") == 1
    # Two steps: 1 / (1 + 2/8).
    assert value(observation, "path_way_down_closeness") == pytest.approx(0.8)
    assert value(observation, "path_gold_known") == 0


def test_message_cues():
    features = np.zeros(len(NAMES), dtype=np.float32)
    write_message_cues(b"This door is locked.", features)
    assert [NAMES[i] for i in np.flatnonzero(features)] == ["message_locked"]
    assert sum(name.startswith("message_") for name in NAMES) == len(MESSAGE_CUES)
