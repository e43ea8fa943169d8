"""Many runs: comparisons of variants, searches with Ray Tune, and reports of finished runs."""
