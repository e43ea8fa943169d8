"""The command `rllib-moe experiment`: see `rllib_moe/cli/experiment.py`, or `python scripts/experiment.py --help`."""

from rllib_moe.cli.experiment import main, run

__all__ = ["main"]

if __name__ == "__main__":
    run()
