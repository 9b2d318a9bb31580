"""How the rounds of a solve are computed.

run.py        a solve as a sequence of rounds, also captured in a CUDA graph
windows.py    where the windows of all environments stand
backends.py   the one place that chooses a backend
torch/        by PyTorch's operations, on any device
numba/        on the same buffers by compiled loops, on a CPU
"""
