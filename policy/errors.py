"""Errors in words, and words from outside that are fit to be shown."""


class SettingError(ValueError):
    """A setting that cannot be, or is not what it was before.

    Args:
        text: a sentence that names settings as Python does, such as `batch_size`.
        settings: those names. The command line puts its options in their place, such as `--batch-size`.
    """

    def __init__(self, text: str, *settings: str):
        super().__init__(text)
        self.settings = settings


def settings_in(error: BaseException) -> tuple[str, ...]:
    """Names of the settings that an error is about."""
    return error.settings if isinstance(error, SettingError) else ()


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
