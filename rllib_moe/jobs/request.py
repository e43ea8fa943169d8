"""What `scripts/submit.py` is asked to do, checked before anything is sent."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import tyro

from rllib_moe.jobs.package import SENT_WHERE_NAMED, files_of
from rllib_moe.training import command_line
from rllib_moe.training.command_line import Request
from rllib_moe.training.storage import is_uri
from rllib_moe.validation import ConfigError

DEFAULT_TREE = Path(__file__).parents[2]
"""The repository this package lies in."""


@dataclass(frozen=True, kw_only=True)
class SubmitConfig:
    """One call. Without --attach, --stop or --fetch it sends a job; flags of scripts/train.py follow after `--`."""

    address: str = "http://127.0.0.1:8265"
    """Job server: the dashboard's address of the Ray cluster."""
    attach: str | None = None
    """Follow the log of this job."""
    stop: str | None = None
    """Stop this job: it saves a checkpoint first."""
    fetch: str | None = None
    """Copy the results of this job to --into."""
    into: str = "results"
    """Where --fetch copies to."""
    follow: bool = True
    """Follow the log until the job ends; otherwise return once it is sent."""
    pip: bool = False
    """Install requirements.txt on the cluster first (minutes); otherwise its Python must have the packages."""
    grace: int = 600
    """Seconds that a stopped job has to finish its iteration and save; Ray's own limit is 3."""
    tree: str = str(DEFAULT_TREE)
    """Working tree to send."""
    max_mb: float = 50.0
    """Largest working tree, MB."""

    def faults(self) -> Iterator[str]:
        """Everything out of range, in words."""
        parts = urlsplit(self.address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            yield f"address: expected the dashboard's address such as http://127.0.0.1:8265, got {self.address!r}"
        chosen = [name for name in ("attach", "stop", "fetch") if getattr(self, name) is not None]
        if len(chosen) > 1:
            yield f"expected one of --attach, --stop and --fetch, got {' and '.join('--' + name for name in chosen)}"
        if self.grace < 1:
            yield f"grace: expected seconds, 1 or more, got {self.grace}"
        if not 0 < self.max_mb < math.inf:
            yield f"max_mb: expected MB above 0, got {self.max_mb}"


@dataclass(frozen=True)
class Call:
    """A checked command line."""

    config: SubmitConfig
    """What to do."""
    training: list[str]
    """Flags of `scripts/train.py` for a new job."""
    request: Request | None
    """What those flags ask for; None where there is a job already."""

    @property
    def named(self) -> frozenset[str]:
        """Directories of the working tree that are sent because the flags name them."""
        resume = _files_named(self.training).resume
        return SENT_WHERE_NAMED & set(Path(resume).parts[:1]) if resume else frozenset()


def parse(arguments: Sequence[str], description: str) -> Call:
    """Read a command line.

    Args:
        arguments: The words after the program's name.
        description: What `--help` says about the program.

    Raises:
        ConfigError: naming every fault, those of the training flags too.
        CheckpointError: the checkpoint to resume is missing or damaged.
        SystemExit: `--help`, or a flag that is unknown or no number where one is due.
    """
    words = list(arguments)
    cut = words.index("--") if "--" in words else len(words)
    config = tyro.cli(SubmitConfig, args=words[:cut], description=description, prog="submit.py")
    training = words[cut + 1 :]
    faults = list(config.faults())
    request = None
    if config.attach or config.stop or config.fetch:
        if training:
            faults.append(f"flags of training after --: a job is there already, got {' '.join(training)}")
    elif not training:
        faults.append(
            "expected flags of scripts/train.py after --, such as -- --exp-name mine --output-dir /mnt/results"
        )
    else:
        try:
            request = command_line.parse(training, "Flags of scripts/train.py, after --.")
            faults += [*misplaced(request), *left_behind(training, Path(config.tree))]
        except ConfigError as error:
            faults += error.errors
    if faults:
        raise ConfigError(faults)
    return Call(config, training, request)


def misplaced(request: Request) -> list[str]:
    """What would be lost, or not be found, where the job runs."""
    run, faults = request.config.run, []
    if not Path(run.output_dir).is_absolute():
        faults.append(
            "output_dir: expected an absolute path on the cluster, such as a shared directory: Ray deletes a job's "
            f"working directory with everything in it; got {run.output_dir!r}"
        )
    if run.address is not None:
        faults.append(f"address: a job runs on the cluster it was sent to; got {run.address!r} after --")
    return faults


def left_behind(training: Sequence[str], tree: Path) -> list[str]:
    """Files that are named in the flags and would not be there where the job runs."""
    named = _files_named(training)
    faults = []
    if named.resume and not is_uri(named.resume) and not Path(named.resume).is_absolute():
        resume = Path(named.resume)
        if not SENT_WHERE_NAMED & set(resume.parts[:1]) or resume.resolve() != (tree / resume).resolve():
            faults.append(
                "resume: expected a URI or an absolute path that the cluster sees too (results are not sent), or one "
                f"of {tree} below {' or '.join(sorted(SENT_WHERE_NAMED))}, got {named.resume!r}"
            )
    file = Path(named.schedule or "default")
    sent = files_of(tree, SENT_WHERE_NAMED & set(Path(named.resume or "").parts[:1]))
    if file.is_file() and (file.is_absolute() or file.resolve() != (tree / file).resolve()):
        faults.append(f"schedule: expected a file of {tree}, by its path from there, got {named.schedule!r}")
    elif file.is_file() and file.resolve() not in (path.resolve() for path in sent):
        faults.append(f"schedule: {named.schedule!r} is not sent (results are not, for one); copy it to {tree}")
    return faults


def _files_named(training: Sequence[str]) -> argparse.Namespace:
    """`resume` and `schedule` as they stand in the flags, None where they do not."""
    peek = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    peek.add_argument("--resume")
    peek.add_argument("--schedule")
    return peek.parse_known_args(list(training))[0]


def results_of(request: Request) -> dict[str, str]:
    """Where a job's results will lie, as metadata of the job."""
    run = request.config.run
    found: dict[str, str] = {"exp_name": run.exp_name, "results": f"{run.output_dir.rstrip('/')}/{run.exp_name}"}
    if run.storage:
        root = run.storage if is_uri(run.storage) else Path(run.storage).as_uri()
        found["storage"] = f"{root.rstrip('/')}/{run.exp_name}"
    return found


def learner_gpus(request: Request) -> int:
    """Whole GPUs to reserve on the node where the learner, the job's own process, will run."""
    return math.ceil(request.config.training.num_gpus)


def as_metadata(value: Any) -> dict[str, str]:
    """A job's metadata, empty where it was sent by something else."""
    return {str(key): str(each) for key, each in (value or {}).items()}
