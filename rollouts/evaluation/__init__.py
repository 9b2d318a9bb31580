"""Many runs and many plans compared: grids of runs, differences between them, how near one distribution is to another."""
