"""Idea 1, the schedule: the values of each phase as a pure function of the episode count, and the bundled schedules."""
