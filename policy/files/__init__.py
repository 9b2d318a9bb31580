"""Files: read what comes from outside without running it, write so that nothing is lost, and one writer for each output."""

from paradp.policy.files.lock import OutputLock
from paradp.policy.files.writing import write_whole

__all__ = ["OutputLock", "write_whole"]
