"""Graph-attention mixture-of-experts policies, trained on Ray RLlib through a phased curriculum."""

import os

# OpenMP's threads spin while they wait for each other, and where a core is shared (Ray's own processes, another job) a
# waiting thread spins away the time the other one needs: a gradient step took 2,000 ms instead of 90 on two busy cores.
# Must be set before torch is imported, so it is here; a value of the user's own stands.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
