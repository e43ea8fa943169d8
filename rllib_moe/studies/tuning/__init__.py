"""Searches over schedules and settings: many training runs as Ray Tune trials, and which of them did best."""
