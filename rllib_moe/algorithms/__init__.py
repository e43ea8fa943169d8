"""PPO and APPO as this project trains with them: RLlib's, with the gaps of the old API stack closed."""
