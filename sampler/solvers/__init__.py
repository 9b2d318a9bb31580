"""The solvers' settings, one file per solver; `paradp.sampler.rounds` contains the computation."""
