"""One episode of a checkpoint to a page or a moving picture: checked, played, drawn and written.

Torch and matplotlib, which take a second to import, are imported once a replay is sure to begin.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from rllib_moe.envs.registry import prepare
from rllib_moe.evaluation.resolve import Resolved, resolve
from rllib_moe.evaluation.spec import ReplayRequest
from rllib_moe.runtime.console import say
from rllib_moe.runtime.files import atomic_write, write_whole
from rllib_moe.runtime.page_heads import commit_words, environment_words, machine_words

if TYPE_CHECKING:
    from rllib_moe.evaluation.replay.recording import Recording

_PROGRESS_EVERY = 100


def replay(request: ReplayRequest, console: Console | None = None) -> dict[str, Any]:
    """Play the episode and write what was asked for, with progress where there is a console.

    Returns:
        `steps`, `score`, the environment's own `measures`, `ending`, and `bytes` of each file by its path.

    Raises:
        ConfigError: the request is refused, for all the errors it names; nothing was written.
    """
    resolved = resolve(request)
    console = console or Console(quiet=True)

    # Late: see above.
    from rllib_moe.evaluation.replay.animation import write_gif
    from rllib_moe.evaluation.replay.page import page
    from rllib_moe.evaluation.replay.recording import record

    prepare(resolved.environment.env)

    def tell(steps: int) -> None:
        if steps % _PROGRESS_EVERY == 0:
            say(console, f"steps {steps}/{resolved.environment.max_steps}")

    recording = record(resolved.environment, resolved.player, request.seed, tell)
    recording.description = resolved.description  # without the names of roles where the experts were given none
    if request.out is not None:
        title = f"{resolved.environment.env}, seed {request.seed}"
        write_whole(Path(request.out), page(recording, title, _facts(request, resolved, recording)))
    if request.gif is not None:
        with atomic_write(Path(request.gif)) as partial:
            write_gif(recording, partial)
    files = {file: Path(file).stat().st_size for file in (request.out, request.gif) if file is not None}
    say(console, f"{recording.steps} steps, {recording.ending}, score {recording.final_score:g}")
    for file, size in files.items():
        say(console, f"{file}: {size / 1e6:.2f} MB")
    return {
        "steps": recording.steps,
        "score": recording.final_score,
        "measures": recording.final_measures,
        "ending": recording.ending,
        "bytes": files,
    }


def _facts(request: ReplayRequest, resolved: Resolved, recording: Recording) -> list[tuple[str, str]]:
    """The page's head line."""
    from rllib_moe.runtime.provenance import describe  # late: see above

    phase = resolved.phase
    assert resolved.checkpoint is not None
    assert phase is not None
    training, played = resolved.checkpoint.experiment.training, resolved.environment
    origin = describe()
    facts = [
        ("environment", environment_words(played.env, played.max_steps, played.env_args)),
        ("trained by", f"{training.algo.upper()}, seed {training.seed}"),
        ("checkpoint", f"{resolved.checkpoint.path.name}, trained for {resolved.checkpoint.episodes:,} episodes"),
        ("gate", f"{phase.routing}, temperature {phase.value('temperature'):.3g}"),
        ("actions", "the most probable" if request.deterministic else "drawn by probability"),
        ("steps", f"{recording.steps}, {recording.ending}"),
        ("final score", f"{recording.final_score:g} points"),
    ]
    facts += [
        (name.replace("_", " "), f"{value:g}") for name, value in recording.final_measures.items() if value is not None
    ]
    if request.remove_expert is not None:
        facts.append(("removed", recording.experts[request.remove_expert]))
    facts.append(("replayed at commit", f"{commit_words(origin) or 'unknown'}, on {machine_words(origin)}"))
    return facts
