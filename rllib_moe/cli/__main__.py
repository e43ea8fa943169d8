"""The console command `rllib-moe`, also as `python -m rllib_moe.cli`: hands over to the command that is named first."""

from __future__ import annotations

import importlib
import sys

from rllib_moe.runtime.invocation import exit_statuses
from rllib_moe.validation.errors import ConfigError
from rllib_moe.validation.words import did_you_mean

COMMANDS = {
    "train": "train a policy through the phases of a schedule",
    "evaluate": "evaluate a checkpoint or a baseline on a list of seeds",
    "replay": "show an episode of a checkpoint step by step",
    "report": "write a page on one run or several",
    "experiment": "compare ways of training over seeds",
    "tune": "search over schedules and settings",
    "submit": "send a training to a Ray cluster",
}
"""Commands, each a module of this package with a function `run`, and what they do."""


def main() -> None:
    """Run the command that the first word names; the other words are its own.

    Raises:
        SystemExit: always, with the command's status.
    """
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help"):
        lines = (f"  {name:<12}{about}" for name, about in COMMANDS.items())
        print("usage: rllib-moe COMMAND ...", "", *lines, "", "rllib-moe COMMAND --help tells more.", sep="\n")
        sys.exit(0)
    with exit_statuses("Interrupted."):
        if words[0] not in COMMANDS:
            raise ConfigError([f"unknown command {words[0]!r}{did_you_mean(words[0], COMMANDS)}"], "command line")
        sys.argv[:2] = [f"rllib-moe {words[0]}"]
        importlib.import_module(f"rllib_moe.cli.{words[0]}").run()


if __name__ == "__main__":
    main()
