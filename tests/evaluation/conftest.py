"""A checkpoint of an untrained network on `regimes`, made once: episodes of 20 steps."""

import pytest

from tests.untrained_checkpoint import save_untrained


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    return save_untrained(tmp_path_factory.mktemp("regimes"), "regimes", max_steps=20, num_cues=4)
