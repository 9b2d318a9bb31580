"""Logs the progress of autotuning; commands may show it as a progress bar."""

import logging
import time
from pathlib import Path

# Seconds between two log lines.
LOG_SECONDS = 1.0
_LOG = logging.getLogger("paradp.policy.engines.autotune")


class Progress:
    """Logs progress. Each log record has the attribute `share`, from 0 to 1.

    Args:
        kept_in: directory of the result.
        parts: the parts of the work in order → share of the total time.
    """

    def __init__(self, kept_in: Path, parts: dict[str, float]):
        self._began = self._said = time.monotonic()
        self._parts = parts
        _LOG.warning("measuring which sampler is fastest here; done once, and kept in %s", kept_in)

    def report(self, part: str, share: float) -> None:
        """Reports that a share of a part is done."""
        names = list(self._parts)
        before = sum(self._parts[name] for name in names[: names.index(part)])
        done, now = (before + min(share, 1.0) * self._parts[part]) / sum(self._parts.values()), time.monotonic()
        if done > 0 and now - self._said > LOG_SECONDS:
            self._said = now
            left = (now - self._began) * (1 / done - 1)
            message = "measuring which sampler is fastest here: %.0f %%, about %.0f s left"
            _LOG.info(message, 100 * done, left, extra={"share": done})
