"""Texts for messages: counts, how to install an extra, and policies of other tasks."""


def counted(number: int, one: str, several: str = "") -> str:
    """A count with its noun: `1 episode`, `3 episodes`.

    Args:
        number: the count.
        one: singular noun.
        several: plural noun; by default the singular with an s.
    """
    return f"{number} {one if number == 1 else several or f'{one}s'}"


def in_a_clone(extra: str) -> str:
    """How to install an extra. paradp is on no package index; the quotes are for zsh, where brackets are patterns."""
    return f'in a clone of paradp, pip install ".[{extra}]"'


def other_task(trained: str, task: str) -> str:
    """Advice about a policy that was trained for another task."""
    return f"This policy is for the task {trained}: give {trained} instead of {task}"
