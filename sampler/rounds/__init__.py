"""How the rounds of a solve are computed.

base.py       what a solve is made of: buffers, rounds that advance them, a clock
run.py        a solve as a sequence of rounds
captured.py   the same, captured in CUDA graphs and launched without waiting
device.py     the queues of a device that captured rounds need
windows.py    where the windows of all environments stand
backends.py   the one place that chooses a backend
torch/        by PyTorch's operations, on any device
numba/        on the same buffers by compiled loops, on a CPU
triton/       on the same buffers by kernels with a program for each environment, on a GPU
"""
