"""Environments that yield graph observations, and the contract they share."""
