"""Numbers of things, in words."""


def counted(number: int, one: str, several: str = "") -> str:
    """So many of a thing: `1 episode`, `3 episodes`.

    Args:
        number: how many.
        one: what one of them is called.
        several: what several are called; with an s, by default.
    """
    return f"{number} {one if number == 1 else several or f'{one}s'}"
