"""Episodes in closed loop: the loop, its records and films, runs that resume, and who computes them."""
