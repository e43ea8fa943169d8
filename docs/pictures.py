"""The pictures of README and docs: drawings as SVG, and figures of what results/published holds as PNG.

How to run:
    python docs/pictures.py

Each drawing stands on its own light panel, so that it reads on a light and on a dark page. replay.png and report.png
are screenshots, which a browser takes (docs/guide/evaluation.md has the commands that make the pages).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

from rllib_moe.evaluation.explanation_plot import write_plot
from rllib_moe.studies.comparison.curves import draw_curves
from rllib_moe.studies.report.curves import score_curve
from rllib_moe.studies.report.runs import read_run

PUBLISHED = Path(__file__).parents[1] / "results" / "published"
INK, FAINT = "#1f2933", "#52606d"
GRAY, BLUE, GREEN, AMBER, RED = "#f0f2f5", "#dbeafe", "#dcf5e3", "#fdf0cd", "#fbe0e0"


class Box(NamedTuple):
    """A box by its upper left corner and size."""

    x: float
    y: float
    width: float
    height: float

    def at(self, across: float, down: float) -> tuple[float, float]:
        """The point at these shares of width and height."""
        return self.x + across * self.width, self.y + down * self.height


class Drawing:
    """An SVG being drawn."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self._head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
            'font-family="DejaVu Sans, Verdana, Helvetica, Arial, sans-serif">'
        )
        self._parts = [
            f"<title>{escape(title)}</title>",
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
            f'orient="auto"><path d="M0 0L8 4L0 8z" fill="{INK}"/></marker></defs>',
            f'<rect x="1" y="1" width="{width - 2}" height="{height - 2}" rx="12" fill="#ffffff" stroke="#cbd2d9"/>',
        ]

    def box(
        self, x: float, y: float, width: float, height: float, lines: Sequence[str], fill: str, dashed: bool = False
    ) -> Box:
        """A box with centered lines, the first of them its name."""
        dash = ' stroke-dasharray="6 4"' if dashed else ""
        self._parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="7" fill="{fill}" stroke="{INK}"{dash}/>'
        )
        top = y + height / 2 - (len(lines) - 1) * 9 + 5
        for index, line in enumerate(lines):
            self.text(x + width / 2, top + 18 * index, line, is_name=index == 0, anchor="middle")
        return Box(x, y, width, height)

    def text(self, x: float, y: float, line: str, is_name: bool = False, anchor: str = "start") -> None:
        """One line of text."""
        style = f'font-size="{14 if is_name else 12.5}" fill="{INK if is_name else FAINT}"'
        weight = ' font-weight="bold"' if is_name else ""
        self._parts.append(f'<text x="{x}" y="{y}" text-anchor="{anchor}" {style}{weight}>{escape(line)}</text>')

    def arrow(self, *points: tuple[float, float], dashed: bool = False) -> None:
        """A line through the points with a tip at the last one."""
        path = " ".join(f"{'L' if index else 'M'}{x} {y}" for index, (x, y) in enumerate(points))
        dash = ' stroke-dasharray="6 4"' if dashed else ""
        self._parts.append(
            f'<path d="{path}" fill="none" stroke="{INK}" stroke-width="1.4" marker-end="url(#tip)"{dash}/>'
        )

    def svg(self) -> str:
        """The file's text."""
        return "\n".join([self._head, *self._parts, "</svg>", ""])


def network() -> str:
    """From an observation to action logits and value."""
    draw = Drawing(1120, 560, "The network: graph, status and map encoders, router, experts, critic")
    graph = draw.box(24, 60, 176, 76, ["scene graph", "nodes, node_types,", "node_mask, edges"], GRAY)
    status = draw.box(24, 196, 176, 58, ["features", "status vector"], GRAY)
    crop = draw.box(24, 304, 176, 58, ["extras", "map crop"], GRAY)
    mask = draw.box(24, 470, 176, 58, ["action_mask", "legal actions"], GRAY)
    draw.text(112, 34, "observation", anchor="middle")

    attention = draw.box(
        248, 60, 186, 76, ["graph attention", "layers of H heads, the", "last read at the ego node"], BLUE
    )
    linear = draw.box(248, 196, 186, 58, ["status encoder", "linear"], BLUE)
    cells = draw.box(248, 304, 186, 58, ["crop encoder", "cell embeddings, linear"], BLUE)
    for source, target in ((graph, attention), (status, linear), (crop, cells)):
        draw.arrow(source.at(1, 0.5), target.at(0, 0.5))

    trunk = draw.box(482, 190, 120, 70, ["trunk", "joint state z"], BLUE)
    draw.arrow(attention.at(1, 0.5), (458, 98), (458, 208), (482, 208))
    draw.arrow(linear.at(1, 0.5), trunk.at(0, 0.5))
    draw.arrow(cells.at(1, 0.5), (458, 333), (458, 242), (482, 242))

    router = draw.box(650, 60, 150, 76, ["router", "best of M candidates;", "moves no encoder"], AMBER)
    critic = draw.box(650, 196, 150, 58, ["critic", "value of the state"], GREEN)
    experts = [draw.box(650 + 6 * step, 330 + 6 * step, 150, 70, [], GREEN) for step in (3, 2, 1)]
    experts.append(draw.box(650, 330, 150, 70, ["experts", "action logits of K", "and of a shared one"], GREEN))
    draw.arrow(attention.at(1, 0.5), router.at(0, 0.5))
    draw.arrow(trunk.at(1, 0.5), critic.at(0, 0.5))
    draw.arrow((626, 225), (626, 365), (650, 365))

    gate = draw.box(
        858,
        53,
        216,
        90,
        ["gate", "softmax, entmax15, sparsemax", "of logits / temperature", "weights [K], sum 1"],
        AMBER,
    )
    draw.arrow(router.at(1, 0.5), gate.at(0, 0.5))
    mix = draw.box(858, 336, 216, 58, ["mixture", "shared + Σ gate_k · expert_k"], GREEN)
    draw.arrow(gate.at(1, 0.5), (1096, 98), (1096, 365), mix.at(1, 0.5))
    draw.arrow(experts[0].at(1, 0.3), (858, experts[0].at(1, 0.3)[1]))
    logits = draw.box(858, 470, 216, 58, ["action logits", "illegal ones at -1e9"], GRAY)
    draw.arrow(mix.at(0.5, 1), logits.at(0.5, 0))
    draw.arrow(mask.at(1, 0.5), logits.at(0, 0.5))
    value = draw.box(858, 196, 216, 58, ["value", "for the advantage estimate"], GRAY)
    draw.arrow(critic.at(1, 0.5), value.at(0, 0.5))

    draw.text(1066, 172, "the phase sets routing and temperature", anchor="end")
    draw.text(248, 446, "losses of the phase: persistence divides the choices, diversity turns experts apart")
    for index, (fill, word) in enumerate(((BLUE, "encode"), (AMBER, "route"), (GREEN, "answer"), (GRAY, "in and out"))):
        draw.box(482 + 100 * index, 22, 16, 16, [], fill)
        draw.text(504 + 100 * index, 35, word)
    return draw.svg()


def data_way() -> str:
    """From the schedule to the workers, and from the games to the files."""
    draw = Drawing(1120, 500, "The way of the data: schedule, curriculum, learner, rollout workers, run directory")
    schedule = draw.box(24, 40, 220, 76, ["phase schedule", "a pure function of the", "global episode count"], AMBER)
    callback = draw.box(
        24, 196, 220, 76, ["curriculum callback", "at start, after each iteration,", "after a restore"], AMBER
    )
    files = draw.box(
        24, 366, 220, 94, ["run directory", "progress.csv, TensorBoard,", "checkpoints, summary.json"], GRAY
    )

    learner = draw.box(440, 150, 250, 168, [], BLUE)
    draw.text(565, 176, "learner (driver)", is_name=True, anchor="middle")
    draw.box(458, 190, 214, 52, ["policy network", "weights and phase buffers"], GREEN)
    draw.box(458, 256, 214, 50, ["PPO and routing losses", "Adam"], GREEN)

    workers = [draw.box(838 + 8 * step, 100 + 8 * step, 240, 258, [], BLUE) for step in (2, 1)]
    workers.append(draw.box(838, 100, 240, 258, [], BLUE))
    draw.text(958, 126, "rollout workers", is_name=True, anchor="middle")
    game = draw.box(854, 140, 190, 52, ["environments", "NetHack, regimes, yours"], GRAY)
    pack = draw.box(854, 216, 190, 52, ["graph observation", "a Dict of arrays"], GRAY)
    act = draw.box(854, 292, 190, 52, ["policy network", "same weights and phase"], GREEN)
    draw.arrow(game.at(0.5, 1), pack.at(0.5, 0))
    draw.arrow(pack.at(0.5, 1), act.at(0.5, 0))
    draw.arrow(act.at(1, 0.5), (1062, 318), (1062, 166), game.at(1, 0.5))
    draw.text(1056, 285, "action", anchor="end")

    draw.arrow(schedule.at(0.5, 1), callback.at(0.5, 0))
    draw.text(142, 161, "phase at n")
    draw.arrow(callback.at(1, 0.5), learner.at(0, 0.5))
    draw.text(256, 222, "routing, temperature,")
    draw.text(256, 254, "coefficients, rate")
    draw.arrow((690, 200), (838, 200))
    draw.text(764, 178, "weights,", anchor="middle")
    draw.text(764, 194, "phase inside", anchor="middle")
    draw.arrow((838, 276), (690, 276))
    draw.text(764, 295, "samples,", anchor="middle")
    draw.text(764, 311, "scores", anchor="middle")

    draw.arrow((565, 318), (565, 413), (244, 413))
    draw.text(302, 404, "one row of measures an iteration,")
    draw.text(302, 432, "a checkpoint every so many episodes")
    draw.arrow(files.at(0.5, 0), callback.at(0.5, 1), dashed=True)
    draw.text(142, 316, "resume: the episode")
    draw.text(142, 334, "count of a checkpoint")
    draw.arrow((565, 150), (565, 78), (244, 78))
    draw.text(302, 69, "episodes finished, counted over")
    draw.text(302, 97, "all workers and all restarts: n")
    return draw.svg()


PICTURES = {"network.svg": network, "data.svg": data_way}
"""Drawings by file name in `docs/images`."""


def learning(path: Path) -> None:
    """Draw the scores of the published comparison."""
    comparison = PUBLISHED / "comparison-nethack"
    table = json.loads((comparison / "table.json").read_text(encoding="utf-8"))
    curves, boundaries = {}, {}
    for name in table["variants"]:
        runs = [read_run(run) for run in sorted(comparison.glob(f"{name}-seed*"))]
        curves[name] = [curve for run in runs if (curve := score_curve(run))]
        assert runs[0].schedule is not None
        boundaries[name] = runs[0].schedule.boundaries
    draw_curves(curves, next(iter(curves)), boundaries, path)


def explanation(path: Path) -> None:
    """Draw what the experts of the shipped network do."""
    numbers = json.loads((PUBLISHED / "explanation-nethack-2026-11-29.json").read_text(encoding="utf-8"))
    write_plot(numbers["explain"], f"{numbers['checkpoint']}, {numbers['episodes']} episodes", path)


def main() -> None:
    """Write all pictures."""
    directory = Path(__file__).parent / "images"
    directory.mkdir(exist_ok=True)
    for name, picture in PICTURES.items():
        (directory / name).write_text(picture(), encoding="utf-8")
    for path in (directory / "learning.png", PUBLISHED / "comparison-nethack" / "curves.png"):
        learning(path)
    explanation(directory / "explain.png")


if __name__ == "__main__":
    main()
