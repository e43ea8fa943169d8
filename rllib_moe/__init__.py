"""Graph-attention mixture-of-experts policies, trained on Ray RLlib through a phased curriculum."""
