"""The command `rllib-moe submit`: see `rllib_moe/cli/submit.py`, or `python scripts/submit.py --help`."""

from rllib_moe.cli.submit import main, run

__all__ = ["main"]

if __name__ == "__main__":
    run()
