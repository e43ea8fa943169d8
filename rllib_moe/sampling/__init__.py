"""Rollouts: RLlib's worker with a sampler for all its environments at once, and what keeps it going when they fail."""
