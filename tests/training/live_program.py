"""A run without a training: the display, log lines and signals as `experiment.py` has them, for `test_live.py`.

Shows rows at the pace in which it is told to by lines on standard input, and ends at the end of it or when a signal
asked for it.
"""

from __future__ import annotations

import logging
import sys
import time

from rllib_moe import metrics as m
from rllib_moe.runtime.console import ConsoleHandler, standard_console
from rllib_moe.schedule.phases import PhaseSchedule
from rllib_moe.training.live import LiveProgress
from rllib_moe.training.progress import FollowedRun
from rllib_moe.training.stop_signals import StopSignals
from tests.training.rows import healthy_row

ROLES = ("survival", "combat", "exploration", "general")


def main(num_rows: int) -> None:
    console = standard_console()
    logger = logging.getLogger("rllib_moe")
    logger.handlers, logger.propagate = [ConsoleHandler(console)], False
    logger.setLevel(logging.INFO)
    rows: list[m.Row] = []
    with StopSignals() as stop:
        schedule = PhaseSchedule.load("v3")
        with LiveProgress(FollowedRun(console, 5000, schedule, rows, ROLES), stop) as progress:
            for iteration in range(1, num_rows + 1):
                row_now = healthy_row(
                    EPISODES_TOTAL=1100 + 10 * iteration, EPISODES=10, SCORE_MEAN=12.5, SCORE_MAX=404.0
                )
                row_now |= {m.PHASE.key: "transition", m.ROUTING.key: "sparsemax", m.TEMPERATURE.key: 0.95}
                row_now |= {
                    m.episode_measure("max_depth_mean").key: 1.75,
                    m.MUTUAL_INFORMATION.key: 0.12,
                    m.STEPS_PER_SECOND.key: 879.4,
                }
                row_now |= {m.expert_share(0).key: 0.46, m.expert_share(1).key: 0.04}
                rows.append(row_now)
                progress.show(row_now)
                logger.info("a line of the log, iteration %d", iteration)
                print("what a worker printed,", iteration)
                time.sleep(0.3)
                if stop:
                    time.sleep(2)  # the iteration ends; meanwhile the display says so
                    break
    console.print(f"after the display, stopped by {stop.received}")


if __name__ == "__main__":
    main(int(sys.argv[1]))
