"""Compiled linear algebra for matrices so small that calls of LAPACK would cost more."""

import numpy as np

from paradp.envs.compiled.compiling import compiled

# Below this ratio of pivots a matrix counts as singular, and the pseudo-inverse is used instead, as in robosuite.
SINGULAR = 1e-12


@compiled
def cholesky(matrix: np.ndarray, factor: np.ndarray) -> bool:
    """Writes the lower factor of a symmetric matrix `[n, n]`; returns whether the matrix is safely positive definite."""
    n = len(matrix)
    largest = 0.0
    for i in range(n):
        largest = max(largest, matrix[i, i])
    for i in range(n):
        for j in range(i + 1):
            rest = matrix[i, j]
            for k in range(j):
                rest -= factor[i, k] * factor[j, k]
            if i > j:
                factor[i, j] = rest / factor[j, j]
            elif rest > SINGULAR * largest:
                factor[i, i] = np.sqrt(rest)
            else:
                return False
    return True


@compiled
def forward(factor: np.ndarray, vector: np.ndarray) -> None:
    """Replaces a vector `[n]` by `factor⁻¹ vector`."""
    for i in range(len(vector)):
        for k in range(i):
            vector[i] -= factor[i, k] * vector[k]
        vector[i] /= factor[i, i]


@compiled
def backward(factor: np.ndarray, vector: np.ndarray) -> None:
    """Replaces a vector `[n]` by `factor⁻ᵀ vector`."""
    n = len(vector)
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            vector[i] -= factor[k, i] * vector[k]
        vector[i] /= factor[i, i]


@compiled
def solve(matrix: np.ndarray, vector: np.ndarray, factor: np.ndarray) -> None:
    """Replaces a vector `[n]` by `matrix⁻¹ vector`, of a symmetric matrix; `factor` is a buffer `[n, n]` for its factor."""
    if cholesky(matrix, factor):
        forward(factor, vector)
        backward(factor, vector)
    else:
        vector[:] = np.dot(np.linalg.pinv(matrix), vector)
