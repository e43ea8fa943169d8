"""One training run: its session, directory, checkpoints, storage, progress, summary and clean stop."""
