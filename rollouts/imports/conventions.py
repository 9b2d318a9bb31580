"""Finds the convention of recorded actions: guessed from the numbers, and declared in the file."""

from typing import Literal

import numpy as np

from paradp.rollouts.imports.recordings import RecordedFile, Recording

Convention = Literal["delta", "absolute"]
# A hand that points down is rotated by about π from the world's axes; a single step rotates it less.
TURNED_RAD = 2.0


def looks_like(recording: Recording) -> Convention | None:
    """Guesses from the numbers: deltas lie in [-1, 1], absolute rotations are those of a hand that points down."""
    actions = recording.actions
    if actions.shape[1] != 7 or not len(actions):
        return None
    if np.median(np.linalg.norm(actions[:, 3:6], axis=1)) > TURNED_RAD:
        return "absolute"
    return "delta" if np.abs(actions).max() <= 1.0 + 1e-6 else None


def convention_of(file: RecordedFile) -> Convention:
    """Returns the convention of a file without defects."""
    convention = looks_like(file.recordings[0])
    assert convention is not None
    return convention


def declared(file: RecordedFile) -> Convention | None:
    """Returns the convention in the controller's configuration; robosuite 1.5 renamed the key."""
    arm = file.settings.controller
    if "control_delta" in arm:
        return "delta" if arm["control_delta"] else "absolute"
    return arm["input_type"] if arm.get("input_type") in ("delta", "absolute") else None
