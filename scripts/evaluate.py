"""The command `rllib-moe evaluate`: see `rllib_moe/cli/evaluate.py`, or `python scripts/evaluate.py --help`."""

from rllib_moe.cli.evaluate import main, run

__all__ = ["main"]

if __name__ == "__main__":
    run()
