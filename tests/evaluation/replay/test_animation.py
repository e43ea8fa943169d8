import numpy as np
import pytest
from PIL import Image, ImageColor

from rllib_moe.evaluation.replay.animation import write_gif
from rllib_moe.evaluation.replay.screen import LIT, crop
from rllib_moe.runtime.colors import DARK, expert_color


def test_has_a_frame_a_step_with_the_weights_as_a_bar(regimes_recording, tmp_path):
    file = tmp_path / "replay.gif"
    write_gif(regimes_recording, file)
    with Image.open(file) as image:
        assert image.is_animated
        for step in (0, 7, regimes_recording.steps - 1):
            image.seek(step)
            pixels = np.array(image.convert("RGB")).astype(int)
            bar = pixels[-43, 8:-8]  # a row below the letters
            for expert, share in enumerate(regimes_recording.gate[step]):
                near = np.abs(bar - ImageColor.getrgb(expert_color(expert))).sum(1) < 12
                assert near.mean() == pytest.approx(share, abs=0.01)
            # The graph above: the ego node in the middle, a ray to each node that it attends to.
            graph = pixels[:-78]
            attention = np.mean(regimes_recording.nodes[step]["attention"], axis=0)
            assert (np.abs(graph - ImageColor.getrgb(DARK.text)).sum(2) < 12).sum() > 100
            assert (np.abs(graph - ImageColor.getrgb(LIT)).sum(2) < 12).sum() > 100 * (attention[1:] > 0.01).sum()


def test_shows_the_screen(nethack_recording, tmp_path):
    file = tmp_path / "replay.gif"
    write_gif(nethack_recording, file)
    with Image.open(file) as image:
        assert image.n_frames > 10  # steps that look alike are one frame
        frame = np.array(image.convert("L"))
    found = crop(nethack_recording.screens, nethack_recording.description.map_lines, nethack_recording.level)
    # As many pixels for each of the map's lines and columns, between a line of text above it and two below; a cell is
    # as large as 330 pixels of height leave room for, 14 across at most.
    assert found.lines == (1, 22)
    assert len(set(found.boxes)) == 1  # one level
    box = found.boxes[0]
    across = min(14, 330 * 8 // (15 * box.lines))
    down = across * 15 // 8
    assert frame.shape[0] == 8 + 15 + box.lines * down + 2 * 15 + 8 + 78
    row, column = nethack_recording.nodes[0]["cells"][0]
    x = (frame.shape[1] - box.columns * across) // 2 + (column - box.left) * across
    y = 8 + 15 + (row - box.top) * down
    assert frame[y : y + down, x : x + across].max() > 150
