"""Imports demonstrations recorded with robomimic or robosuite: reads, checks and converts them."""
