"""Stands in for LeRobot where that is not installed: as much of its interface as `paradp drive --robot` uses.

The real one is used by `make test-lerobot`.
"""
