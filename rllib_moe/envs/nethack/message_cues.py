"""Phrases of the message line that say what just happened, as flags of the status vector."""

from typing import Final

import numpy as np

MESSAGE_CUES: Final = (
    b"locked",
    b"closed",
    b"You see here",
    b"staircase",
    b"solid stone",
    b"wall",
    b"in the way",
    b"You hear",
    b" misses",
    b" hits",
    b" bites",
    b"You kill",
    b"destroy",
    b"You feel",
    b"hungry",
    b"boulder",
    b"trap",
    b"You find",
)
"""Looked for in the message line, letter by letter."""


def write_message_cues(message: bytes, flags: np.ndarray) -> None:
    """Mark the phrases that a message holds.

    Args:
        message: the message line, without padding.
        flags: float32 [len(MESSAGE_CUES)], zeros, written.
    """
    if not message:
        return
    for i, cue in enumerate(MESSAGE_CUES):
        if cue in message:
            flags[i] = 1.0
