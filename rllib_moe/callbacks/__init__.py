"""Curriculum and episode metrics: where the project meets RLlib's callback hooks."""
