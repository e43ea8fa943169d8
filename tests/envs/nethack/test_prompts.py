import numpy as np
import pytest

from rllib_moe.envs.nethack.actions import EAT, FIRST_MOVE, KEY_ESCAPE, KEY_SPACE, KICK, SEARCH
from rllib_moe.envs.nethack.prompts import MAX_DISMISSALS, Prompt, open_prompt, settle


class FakeGame:
    """A game that asks a list of questions, each closed by any key."""

    def __init__(self, *questions, repeat=False):
        self.questions = list(questions)
        self.repeat = repeat
        self.keys = []

    @property
    def misc(self):
        kind = self.questions[0][0] if self.questions else None
        return np.array([kind == "key", kind == "line", kind == "any"], dtype=np.int32)

    def message_bytes(self):
        return self.questions[0][1] if self.questions else b""

    def press(self, key):
        self.keys.append(key)
        if not self.repeat:
            self.questions.pop(0)
        return False


DIRECTION = ("key", b"In what direction?")
EATING = ("key", b"What do you want to eat? [fgh or ?*]")
ATTACK = ("key", b"Really attack the watchman?")
OTHER = ("key", b"Do you want to add to the current engraving?")


@pytest.mark.parametrize(
    ("question", "prompt"),
    [
        (("any", b""), Prompt.MORE),
        (("line", b"Call it:"), Prompt.TEXT),
        (DIRECTION, Prompt.DIRECTION),
        (EATING, Prompt.EAT),
        (OTHER, Prompt.CHOICE),
    ],
)
def test_open_prompt(question, prompt):
    assert open_prompt(FakeGame(question)) == prompt
    assert open_prompt(FakeGame()) == Prompt.NONE


def test_settle_reads_on_and_declines():
    game = FakeGame(("any", b""), ("line", b"Call it:"), OTHER, ATTACK)
    assert settle(game, before=Prompt.NONE, dismiss=True)[:3] == (Prompt.NONE, 4, False)
    assert game.keys == [KEY_SPACE, KEY_ESCAPE, KEY_ESCAPE, KEY_ESCAPE]


@pytest.mark.parametrize(("question", "prompt"), [(DIRECTION, Prompt.DIRECTION), (EATING, Prompt.EAT)])
def test_answerable_questions_last_one_step(question, prompt):
    assert settle(FakeGame(question), before=Prompt.NONE, dismiss=True)[:3] == (prompt, 0, False)
    assert settle(FakeGame(question), before=prompt, dismiss=True)[:3] == (Prompt.NONE, 1, False)


def test_without_dismissal_the_task_decides():
    assert settle(FakeGame(ATTACK), before=Prompt.NONE, dismiss=False)[:3] == (Prompt.CHOICE, 0, False)
    assert settle(FakeGame(OTHER), before=Prompt.NONE, dismiss=False)[:3] == (Prompt.NONE, 1, False)


def test_dismissal_is_bounded():
    game = FakeGame(("any", b""), repeat=True)
    assert settle(game, before=Prompt.NONE, dismiss=True)[:3] == (Prompt.MORE, MAX_DISMISSALS, False)
    assert len(game.keys) == MAX_DISMISSALS


def test_kick_and_eat_in_a_real_game(make_env):
    env = make_env(action_mask=True)
    env.reset(seed=1)
    observation, _, _, _, info = env.step(KICK)
    assert info["scene"]["in_prompt"]
    assert observation["action_mask"][FIRST_MOVE : FIRST_MOVE + 8].all()
    assert not observation["action_mask"][SEARCH]
    # A key that is no direction ends the question.
    _, _, _, _, info = env.step(SEARCH)
    assert not info["scene"]["in_prompt"]
    _, _, _, _, info = env.step(EAT)
    assert info["scene"]["in_prompt"]
    # A wrong answer would be asked again, five times over; it is closed instead.
    _, _, _, _, info = env.step(SEARCH)
    assert not info["scene"]["in_prompt"]
    assert info["prompts_dismissed"] >= 1
