"""A recording as one HTML page that needs nothing else: no network, no files beside it.

The recording travels in it as compressed JSON; what shows it are the files in `assets/`.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import jinja2

from rllib_moe.evaluation.replay.recording import Recording
from rllib_moe.evaluation.replay.screen import COLOR_CODES, GROUND, INVERSE_CODES, LIT, TERMINAL, crop
from rllib_moe.runtime.colors import ACCENT, DARK, LIGHT, WARNING, Surface, expert_color

_SCRIPTS = ("stage.js", "timeline.js", "panels.js", "player.js")


def page(recording: Recording, title: str, facts: Sequence[tuple[str, str]]) -> str:
    """Build the page of an episode of one step at least, with the names and values of `facts` in its head line."""
    assets = resources.files("rllib_moe.evaluation.replay") / "assets"
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    template = environment.from_string((assets / "page.html").read_text(encoding="utf-8"))
    data = json.dumps(page_data(recording), separators=(",", ":"), allow_nan=False)
    compressed = gzip.compress(data.encode(), mtime=0)  # no time of day: an episode has one page
    ours = {  # not escaped by the template, unlike title and facts
        "light": _variables(LIGHT),
        "dark": _variables(DARK),
        "accent": ACCENT,
        "warning": WARNING,
        "style": (assets / "page.css").read_text(encoding="utf-8"),
        "script": "\n".join((assets / name).read_text(encoding="utf-8") for name in _SCRIPTS),
        "screen": json.dumps(
            {"TERMINAL": TERMINAL, "GROUND": GROUND, "LIT": LIT, "CODES": COLOR_CODES, "INVERSE": INVERSE_CODES}
        ),
        "recording": base64.b64encode(compressed).decode(),
    }
    return template.render(title=title, facts=facts, **ours)


def page_data(recording: Recording) -> Mapping[str, Any]:
    """Return the data of the page's scripts."""
    description, screens = recording.description, recording.screens
    plain = {name: value for name, value in vars(recording).items() if name not in ("description", "level")}
    return plain | {
        "experts": recording.experts,
        "colors": [expert_color(k) for k in range(recording.num_experts)],
        "actions": description.action_names,
        "node_types": description.node_type_names,
        "edge_types": description.edge_type_names,
        "distance_unit": description.distance_unit,
        "crop": crop(screens, description.map_lines, recording.level)._asdict() if screens else None,
    }


def _variables(surface: Surface) -> str:
    return " ".join(f"--{name}: {value};" for name, value in vars(surface).items())
