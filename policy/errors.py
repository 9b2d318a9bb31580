"""Errors in words, and words from outside that are fit to be shown."""


def described(error: BaseException) -> str:
    """An error's text, never empty: with its type where the text is missing or says nothing by itself.

    `str(error)` is empty for a `TimeoutError` of the standard library, and `'x'` for a missing key.
    """
    text, kind = str(error).strip(), type(error).__name__
    if not text:
        return kind
    return text if isinstance(error, ValueError | OSError | RuntimeError) else f"{kind}: {text}"


def printable(text: str, keep: str = "") -> str:
    """A text with `?` for what a terminal would obey instead of showing: escape codes, changes of direction.

    Args:
        keep: signs of these kinds that may stay, such as line breaks.
    """
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() or sign in keep else "?" for sign in text)
