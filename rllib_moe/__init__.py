"""Graph-attention mixture-of-experts policies, trained on Ray RLlib through a phased curriculum."""

from rllib_moe.runtime import process_settings

process_settings.apply()  # here, because it must come before torch is imported
