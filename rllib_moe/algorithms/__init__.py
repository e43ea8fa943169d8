"""PPO and APPO: RLlib's, with the gaps of the old API stack closed, and an experiment as their configuration."""
