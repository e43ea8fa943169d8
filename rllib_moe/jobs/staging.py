"""The working directory of a job: this package, the experiment, its checkpoint, and a tree of the user's own.

Ray packs and uploads the directory; what this module adds is the choice of files, from a wheel as from a checkout.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Set
from pathlib import Path

import rllib_moe
from rllib_moe.experiment import Experiment
from rllib_moe.jobs.submit_config import PRETRAINED, SubmitConfig, sent_checkpoint
from rllib_moe.validation.errors import ConfigError

EXPERIMENT = "experiment.yaml"
PACKAGE = Path(rllib_moe.__path__[0])
LEFT_OUT = {PRETRAINED, PACKAGE.name, "results", "docs", "tests", "node_modules", "build", "dist"}
"""Directories at the top of a user's tree that are not sent; the package is, as it is installed here."""


def stage(target: Path, experiment: Experiment, config: SubmitConfig) -> float:
    """Fill the working directory of a job.

    Args:
        target: An empty directory.

    Returns:
        The sum of the files, MB.

    Raises:
        ConfigError: They are too large; names the largest entries.
    """
    files = {Path(PACKAGE.name) / path.relative_to(PACKAGE): path for path in _walk(PACKAGE)}
    if config.tree:
        files |= {path.relative_to(config.tree): path for path in _walk(Path(config.tree), LEFT_OUT)}
    if checkpoint := sent_checkpoint(experiment.run):
        files |= {path: path for path in _walk(checkpoint)}
    entries: Counter[str] = Counter()
    for sent, path in files.items():
        entries[sent.parts[0]] += path.stat().st_size
    size = entries.total() / 1e6
    if size > config.max_mb:
        largest = ", ".join(f"{entry} ({number / 1e6:.1f} MB)" for entry, number in entries.most_common(3))
        raise ConfigError([f"max_mb: {size:.1f} MB to send, more than {config.max_mb:g}; the largest are {largest}"])
    for sent, path in files.items():
        (target / sent).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target / sent)
    (target / EXPERIMENT).write_text(experiment.to_yaml(), encoding="utf-8")
    return size


def _walk(tree: Path, left_out: Set[str] = frozenset()) -> Iterator[Path]:
    """Yield the files below a directory but hidden and made ones; links to directories are not followed."""
    for place, directories, names in os.walk(tree):
        directories[:] = [
            name
            for name in directories
            if not name.startswith(".")
            and not name.endswith(("__pycache__", ".egg-info"))
            and not (Path(place) == tree and name in left_out)
            and not (Path(place) / name / "pyvenv.cfg").exists()
        ]
        paths = (Path(place) / name for name in names if not name.startswith("."))
        yield from (path for path in paths if path.suffix not in (".log", ".pyc") and path.is_file())
