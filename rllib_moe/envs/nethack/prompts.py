"""Questions the game asks: which one is open, and how it is closed.

NetHack interrupts play with ``--More--``, menus, lines of text and single-key questions. Unanswered they swallow the
next actions, so `settle` closes what the 23 actions cannot usefully answer, with a bounded number of keys that cost
no environment step.
"""

import math
from collections.abc import Callable
from enum import IntEnum
from typing import Final, NamedTuple, Self

from rllib_moe.envs.nethack.actions import KEY_ESCAPE, KEY_SPACE
from rllib_moe.envs.nethack.game import Game

MAX_DISMISSALS: Final = 32
"""Keys spent at most on closing questions after one action."""
MAX_QUESTIONS: Final = 16
"""Questions answered at most after the keys of one action."""

_READ_ON, _CLOSE = bytes([KEY_SPACE]), bytes([KEY_ESCAPE])


class Prompt(IntEnum):
    """Input that the game is waiting for."""

    NONE = 0
    """An ordinary action."""
    MORE = 1
    """Any key: ``--More--`` or a menu."""
    TEXT = 2
    """A line of text."""
    DIRECTION = 3
    """One of eight directions, after KICK."""
    EAT = 4
    """An item, or yes or no, after EAT."""
    CHOICE = 5
    """Another single key, such as "Really attack?"."""


def open_prompt(game: Game) -> Prompt:
    """Say which question is open.

    Args:
        game: a running game.
    """
    single_key, line, any_key = game.misc
    if any_key:
        return Prompt.MORE
    if line:
        return Prompt.TEXT
    if single_key:
        message = game.message_bytes()
        if b"direction?" in message:
            return Prompt.DIRECTION
        return Prompt.EAT if b"eat" in message else Prompt.CHOICE
    return Prompt.NONE


def offered_keys(question: bytes) -> bytes:
    """Return the keys that a question offers in brackets, as in ``[fgh or ?*]``; none without brackets."""
    _, bracket, offered = question.rpartition(b"[")
    return offered.partition(b"]")[0].partition(b" or ")[0] if bracket else b""


class Played(NamedTuple):
    """Outcome of an action that types several keys."""

    is_over: bool
    """True: the game is over."""

    messages: bytes
    """All messages on the way, a line each."""

    steps: int
    """Steps that it counts as."""

    def then(self, other: Self) -> Self:
        """Return the outcome of both actions, one after the other."""
        return self._replace(
            is_over=other.is_over, messages=self.messages + b"\n" + other.messages, steps=self.steps + other.steps
        )


def converse(
    game: Game, keys: bytes, answer: Callable[[bytes], bytes] | None = None, max_steps: float = math.inf
) -> Played:
    """Type keys, read what follows, and answer the questions until none is open.

    Args:
        game: in which no question is open.
        keys: first keys.
        answer: gives the keys that answer a question, by its message; none closes it.
        max_steps: keys at most, at least those given; further answers close their questions.

    Returns:
        What it came to. Keys that read on or close a question are no steps.
    """
    messages: list[bytes] = []
    typed, steps = keys, 0
    for _ in range(MAX_QUESTIONS):
        if typed not in (_READ_ON, _CLOSE):
            steps += len(typed)
        for key in typed:
            if game.press(key):
                return Played(True, b"\n".join(messages), steps)
        message = game.message_bytes()
        messages.append(message)
        prompt = open_prompt(game)
        if prompt == Prompt.NONE:
            break
        typed = _READ_ON if prompt == Prompt.MORE else (answer(message) if answer else b"") or _CLOSE
        if typed not in (_READ_ON, _CLOSE) and steps + len(typed) > max_steps:
            typed = _CLOSE
    return Played(False, b"\n".join(messages), steps)


class Settled(NamedTuple):
    """Outcome of `settle`."""

    prompt: Prompt
    """The question now open."""

    pressed: int
    """Number of keys pressed."""

    is_over: bool
    """True: the game is over."""

    read: bytes
    """Messages after the first one, a line each."""


def settle(game: Game, *, before: Prompt, dismiss: bool) -> Settled:
    """Close the questions that are left open after an action.

    Args:
        game: a running game.
        before: the question that was open before the action. One that outlives an answer is closed, so that a
            wrong key cannot hold the hero in it.
        dismiss: also close questions with a single key, other than a direction to kick or something to eat. Else
            those are left which ``NetHackScore-v0`` leaves (attack and pray as well).

    Returns:
        What it came to.
    """
    read: list[bytes] = []
    prompt = open_prompt(game)
    while len(read) < MAX_DISMISSALS and not _is_answerable(game, prompt, before, dismiss):
        if game.press(KEY_SPACE if prompt == Prompt.MORE else KEY_ESCAPE):
            return Settled(Prompt.NONE, len(read) + 1, is_over=True, read=b"\n".join(read))
        read.append(game.message_bytes())
        prompt = open_prompt(game)
    return Settled(prompt, len(read), is_over=False, read=b"\n".join(read))


def _is_answerable(game: Game, prompt: Prompt, before: Prompt, dismiss: bool) -> bool:
    """Return whether the next action may be played as it is, see `settle`."""
    if prompt in (Prompt.NONE, Prompt.MORE, Prompt.TEXT):
        return prompt == Prompt.NONE
    kicks_or_eats = prompt in (Prompt.DIRECTION, Prompt.EAT)
    if dismiss:
        return kicks_or_eats and before == Prompt.NONE
    message = game.message_bytes()
    return kicks_or_eats or b"attack" in message or b"pray" in message
