"""Lists defects of recorded demonstrations that prevent an import, and warnings, as sentences."""

from collections.abc import Iterator

import numpy as np

from paradp.policy.wording import counted
from paradp.rollouts.imports.conventions import declared, looks_like
from paradp.rollouts.imports.recordings import RecordedFile, Recording


def defects(file: RecordedFile) -> list[str]:
    """Returns the defects that must be repaired before a file can be imported; empty if there are none."""
    found = [defect for recording in file.recordings for defect in _of(recording)]
    if found:
        return found
    return [*_sizes(file), *_conventions(file)]


def remarks(file: RecordedFile) -> list[str]:
    """Returns warnings about a file that can be imported."""
    found = []
    if file.masks:
        listed = ", ".join(f"{key} ({len(names)})" for key, names in file.masks.items())
        found.append(f"it has masks; --mask imports only the demonstrations of one: {listed}")
    if file.other_actions:
        found.append(f"{', '.join(file.other_actions)} was not read; --actions selects the array to read")
    for key, reason in file.unread.items():
        found.append(f"the observation {key} was not read: {reason}")
    if (looks_like(file.recordings[0]), declared(file)) == ("absolute", "delta"):
        # As in Diffusion Policy's low_dim_abs.hdf5: its conversion does not update the controller's configuration.
        found.append("the file says that its actions are delta, but they look absolute, and are taken for that")
    for what in file.recordings[0].arrays:
        columns = np.concatenate([recording.arrays[what] for recording in file.recordings])
        constant = np.flatnonzero(np.ptp(columns, axis=0) == 0).tolist()
        if constant:
            found.append(f"{what} is constant in column{'s' * (len(constant) > 1)} {', '.join(map(str, constant))}")
    return found


def _of(recording: Recording) -> Iterator[str]:
    if len(recording) < 2:
        yield f"{recording.name} has {counted(len(recording), 'step')}; an episode needs two at least"
    for what, values in recording.arrays.items():
        if not np.isfinite(values).all():
            step, column = np.argwhere(~np.isfinite(values))[0]
            yield f"{recording.name}/{what} is not finite in step {step}, column {column}: {values[step, column]}"


def _sizes(file: RecordedFile) -> Iterator[str]:
    """Finds episodes whose arrays differ from the first one's."""
    first = {what: values.shape[1] for what, values in file.recordings[0].arrays.items()}
    for recording in file.recordings[1:]:
        sizes = {what: values.shape[1] for what, values in recording.arrays.items()}
        for what in first.keys() | sizes.keys():
            if first.get(what) != sizes.get(what):
                yield (
                    f"{recording.name}/{what} has {sizes.get(what, 'no')} columns, that of {file.recordings[0].name} has"
                    f" {first.get(what, 'none')}"
                )


def _conventions(file: RecordedFile) -> Iterator[str]:
    looks = {recording.name: looks_like(recording) for recording in file.recordings}
    (first, look), *others = looks.items()
    for recording in file.recordings:
        if looks[recording.name] is None:
            yield f"{recording.name}'s actions are neither steps in [-1, 1] nor absolute poses{_worst(recording.actions)}"
    for name, guess in others:
        if None not in (look, guess) and guess != look:
            yield f"action conventions are mixed: {first} looks {look}, {name} looks {guess}"
    if (look, declared(file)) == ("delta", "absolute"):
        yield "the file says that its actions are absolute, but they look delta"


def _worst(actions: np.ndarray) -> str:
    """Describes the value that is furthest outside the range of delta actions."""
    if actions.shape[1] != 7 or not len(actions):
        return f" of seven values: they have {actions.shape[1]}"
    step, column = np.unravel_index(np.abs(actions).argmax(), actions.shape)
    return f": step {step}, column {column} is {actions[step, column]:g}"
