"""Measurements of speed and memory: whole training against stock RLlib, each part alone, scaling, long runs."""
