"""Errors in words."""


def described(error: BaseException) -> str:
    """An error's text, never empty: with its type where the text is missing or says nothing by itself.

    `str(error)` is empty for a `TimeoutError` of the standard library, and `'x'` for a missing key.
    """
    text, kind = str(error).strip(), type(error).__name__
    if not text:
        return kind
    return text if isinstance(error, ValueError | OSError | RuntimeError) else f"{kind}: {text}"
