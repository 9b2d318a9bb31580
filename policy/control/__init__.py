"""From plans to commands: controllers that wait and that do not, chunks, safety."""
