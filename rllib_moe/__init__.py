"""Graph-attention mixture-of-experts policies, trained on Ray RLlib through a phased curriculum."""

import os

# OpenMP's threads spin while they wait for each other, by default for milliseconds. Where a core is shared (Ray's own
# processes, another job) they spin away the time that the awaited thread needs: a gradient step took 2,000 ms in place
# of 90 on two busy cores. Sleeping at once costs 30 % on idle cores; ten thousand turns (some ten microseconds) cost
# neither. Must be set before torch is imported, so it is here; values of the user's own stand.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
