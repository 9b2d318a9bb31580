"""Runs environments in a second process with another Python interpreter, which may have other packages.

robosuite needs numpy 1 and LeRobot needs numpy 2, so one interpreter cannot run both. The calling process only needs numpy.
"""

from paradp.envs.remote.client import PYTHON_VARIABLE, RemoteEnvironments, RemoteTask, Stepped
