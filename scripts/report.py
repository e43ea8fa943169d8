"""The command `rllib-moe report`: see `rllib_moe/cli/report.py`, or `python scripts/report.py --help`."""

from rllib_moe.cli.report import main, run

__all__ = ["main"]

if __name__ == "__main__":
    run()
