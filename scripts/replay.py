"""The command `rllib-moe replay`: see `rllib_moe/cli/replay.py`, or `python scripts/replay.py --help`."""

from rllib_moe.cli.replay import main, run

__all__ = ["main"]

if __name__ == "__main__":
    run()
