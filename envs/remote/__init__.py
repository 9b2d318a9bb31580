"""Environments in a process of their own, with its own interpreter: simulators need other packages than some policies.

robosuite needs numpy 1 and LeRobot numpy 2, which no interpreter can have both. This side needs numpy alone.
"""

from paradp.envs.remote.client import PYTHON_VARIABLE, RemoteEnvironments, RemoteTask, Stepped
