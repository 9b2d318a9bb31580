"""Computes the rounds of a solve.

base.py       base classes: rounds on buffers, and a clock for deadlines
run.py        runs the rounds of a solve one by one
captured.py   the same with rounds captured in CUDA graphs, launched without waiting
device.py     streams and graphs of a device, for captured rounds
windows.py    the windows of all environments
backends.py   chooses a backend
torch/        PyTorch operations, on any device
numba/        compiled loops on the same buffers, on a CPU
triton/       kernels on the same buffers with one program per environment, on a GPU
"""
