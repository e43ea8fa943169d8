"""The command `rllib-moe train`: see `rllib_moe/cli/train.py`, or `python scripts/train.py --help`."""

from rllib_moe.cli.train import main, run

__all__ = ["main"]

if __name__ == "__main__":
    run()
