"""Formats counts for messages."""


def counted(number: int, one: str, several: str = "") -> str:
    """A count with its noun: `1 episode`, `3 episodes`.

    Args:
        number: the count.
        one: singular noun.
        several: plural noun; by default the singular with an s.
    """
    return f"{number} {one if number == 1 else several or f'{one}s'}"
