"""A policy on a fixed list of seeds: scores, routing, expert removal, and baselines beside it."""
