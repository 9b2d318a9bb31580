"""Files: read what comes from outside without running it, write so that nothing is lost, and one writer for each output."""

from paradp.policy.files.lock import OutputLock, refuse_filled
from paradp.policy.files.writing import write_whole

__all__ = ["OutputLock", "refuse_filled", "write_whole"]
