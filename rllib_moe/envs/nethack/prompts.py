"""Questions the game asks: which one is open, and how it is closed.

NetHack interrupts play with ``--More--``, menus, lines of text and single-key questions. Unanswered they swallow the
next actions, so `settle` closes what the 23 actions cannot usefully answer, with a bounded number of keys that cost
no environment step.
"""

from enum import IntEnum
from typing import Final, NamedTuple, Protocol

import numpy as np

from rllib_moe.envs.nethack.actions import KEY_ESCAPE, KEY_SPACE

MAX_DISMISSALS: Final = 32
"""Keys spent at most on closing questions after one action."""


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


class Keyboard(Protocol):
    """Interface of a running game for `settle`."""

    misc: np.ndarray
    """int32 [3]: waiting for a single key, for a line, for any key."""

    def press(self, key: int) -> bool:
        """Press one key; returns whether the game is over."""

    def message_bytes(self) -> bytes:
        """The message line, without padding."""


def open_prompt(game: Keyboard) -> Prompt:
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


class Played(NamedTuple):
    """Outcome of an action that types several keys."""

    is_over: bool
    """True: the game is over."""

    messages: bytes
    """All messages on the way, a line each."""

    steps: int
    """Steps that it counts as."""


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


def settle(game: Keyboard, *, before: Prompt, dismiss: bool) -> Settled:
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


def _is_answerable(game: Keyboard, prompt: Prompt, before: Prompt, dismiss: bool) -> bool:
    """Return whether the next action may be played as it is, see `settle`."""
    if prompt in (Prompt.NONE, Prompt.MORE, Prompt.TEXT):
        return prompt == Prompt.NONE
    kicks_or_eats = prompt in (Prompt.DIRECTION, Prompt.EAT)
    if dismiss:
        return kicks_or_eats and before == Prompt.NONE
    message = game.message_bytes()
    return kicks_or_eats or b"attack" in message or b"pray" in message
