"""Engines: what computes a network, and which sampler is fastest on one."""
