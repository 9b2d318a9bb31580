"""A substitute for LeRobot if it is not installed, with the interface that `paradp drive --robot` uses.

The real one is used by `make test-lerobot`.
"""
