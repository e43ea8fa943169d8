"""Recordings to show, made once."""

import pytest

from rllib_moe.evaluation.player import Player
from rllib_moe.evaluation.replay.recording import record
from rllib_moe.training.checkpoints import load_checkpoint
from tests.untrained_checkpoint import save_untrained


@pytest.fixture(scope="session")
def nethack_checkpoint(tmp_path_factory):
    pytest.importorskip("nle")
    return save_untrained(tmp_path_factory.mktemp("nethack"), "nethack", max_steps=40)


def watch(checkpoint, seed):
    loaded = load_checkpoint(checkpoint)
    player = Player(policy="checkpoint", watched=True, model=loaded.experiment.model, weights=loaded.weights())
    return record(loaded.experiment.environment, player, seed)


@pytest.fixture(scope="session")
def regimes_recording(checkpoint):
    return watch(checkpoint, seed=3)


@pytest.fixture(scope="session")
def nethack_recording(nethack_checkpoint):
    return watch(nethack_checkpoint, seed=3)
