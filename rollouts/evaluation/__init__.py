"""Comparisons of many runs or many plans: grids of runs, paired differences, and distances between distributions."""
