import numpy as np
import pytest
from PIL import Image, ImageColor

from rllib_moe.evaluation.replay.animation import write_gif
from rllib_moe.runtime.colors import expert_color


def test_has_a_frame_a_step_with_the_weights_as_a_bar(regimes_recording, tmp_path):
    file = tmp_path / "replay.gif"
    write_gif(regimes_recording, file)
    with Image.open(file) as image:
        assert image.is_animated
        for step in (0, 7, regimes_recording.steps - 1):
            image.seek(step)
            bar = np.array(image.convert("RGB"))[35, 8:-8].astype(int)  # a row below the letters
            for expert, share in enumerate(regimes_recording.gate[step]):
                near = np.abs(bar - ImageColor.getrgb(expert_color(expert))).sum(1) < 12
                assert near.mean() == pytest.approx(share, abs=0.01)


def test_shows_the_screen(nethack_recording, tmp_path):
    file = tmp_path / "replay.gif"
    write_gif(nethack_recording, file)
    with Image.open(file) as image:
        assert image.n_frames > 10  # steps that look alike are one frame
        assert image.size == (max(640, nethack_recording.screens.width * 8 + 16), 24 * 15 + 16 + 78)
        first = np.array(image.convert("L"))
    row, column = nethack_recording.nodes[0]["cells"][0]
    assert first[8 + row * 15 : 23 + row * 15, 8 + column * 8 : 16 + column * 8].max() > 150
