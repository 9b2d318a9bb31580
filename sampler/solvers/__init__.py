"""How a table's trajectory is filled: each solver's settings; `paradp.sampler.rounds` computes them."""
