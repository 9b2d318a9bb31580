"""The disk cache for results that are slow to compute or measure. Damaged entries are ignored and computed again."""

import hashlib
import inspect
import os
from pathlib import Path

from paradp.policy.networks.conditional import ConditionalNetwork
from paradp.policy.spec import PolicySpec


def cache_folder() -> Path:
    """The cache directory: `PARADP_CACHE` if it is set, otherwise `~/.cache/paradp`."""
    return Path(os.environ.get("PARADP_CACHE") or Path.home() / ".cache/paradp")


def digest(network: ConditionalNetwork, spec: PolicySpec, *sources: str) -> str:
    """A cache key: the hash of a network's weights, structure, specification and source code.

    Args:
        network: the network.
        spec: the policy's specification.
        sources: paths of further source files that the cached result depends on.
    """
    found = hashlib.sha256(f"{network} {spec}".encode())
    for source in (inspect.getfile(type(network)), *sources):
        found.update(Path(source).read_bytes())
    for tensor in network.state_dict().values():
        found.update(tensor.cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:24]


def sha256(*paths: Path) -> str:
    """The SHA-256 of the contents of several files, concatenated."""
    found = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while piece := file.read(2**20):
                found.update(piece)
    return found.hexdigest()
