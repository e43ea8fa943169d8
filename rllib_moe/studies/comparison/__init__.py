"""Several ways of training against each other: a plan of variants and seeds, run unattended, and its table."""
