"""The command `rllib-moe tune`: see `rllib_moe/cli/tune.py`, or `python scripts/tune.py --help`."""

from rllib_moe.cli.tune import main, run

__all__ = ["main"]

if __name__ == "__main__":
    run()
