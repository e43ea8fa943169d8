"""Graph-attention mixture-of-experts policies, trained on Ray RLlib through a phased curriculum."""

from rllib_moe import process_defaults

process_defaults.apply()  # here, because it must come before torch is imported
