"""Error messages, and untrusted text made safe to print."""

from collections.abc import Sequence


class SettingError(ValueError):
    """A setting is invalid, or differs from that of an earlier run.

    Args:
        text: a sentence that names settings as in Python, such as `batch_size`.
        settings: these names. The command line replaces them by its options, such as `--batch-size`.
    """

    def __init__(self, text: str, *settings: str):
        super().__init__(text)
        self.settings = settings


class NotFinite(ValueError):
    """Some plans of a batch are not finite.

    Args:
        text: the message.
        rows: the environments of the batch without a plan. The default allows pickling, which sets them afterwards.
    """

    def __init__(self, text: str, rows: Sequence[int] = ()):
        super().__init__(text)
        self.rows = tuple(rows)


def settings_in(error: BaseException) -> tuple[str, ...]:
    """Names of the settings that caused an error."""
    return error.settings if isinstance(error, SettingError) else ()


def system_error(error: OSError) -> str:
    """A system error's files and reason, without its number: `a.txt: No such file or directory`."""
    if not error.strerror:
        return str(error)
    files = [str(name) for name in (error.filename, error.filename2) if name is not None]
    return f"{' → '.join(files)}: {error.strerror}" if files else error.strerror


def described(error: BaseException) -> str:
    """An error's text, with its type if the text is empty or unclear without it.

    `str(error)` is empty for a `TimeoutError` of the standard library, and `'x'` for a missing key.
    """
    kind = type(error).__name__
    text = (system_error(error) if isinstance(error, OSError) else str(error)).strip()
    if not text:
        return kind
    return text if isinstance(error, ValueError | OSError | RuntimeError) else f"{kind}: {text}"


def printable(text: str, keep: str = "") -> str:
    """Replaces characters that control a terminal, such as escape codes and changes of direction, by `?`.

    Args:
        keep: control characters to keep, such as line breaks.
    """
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() or sign in keep else "?" for sign in text)
