"""Engines, which compute the network, and the autotuner, which finds the fastest sampler on an engine."""
