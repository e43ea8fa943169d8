"""The curriculum: the callback that carries the schedule's phase to learner and workers, and its row of measures."""
