"""One training run: its command line, loop, directory, checkpoints, progress, summary and clean stop."""
