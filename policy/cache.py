"""What was slow to make or to measure is kept on disk; what is damaged there counts as not there."""

import hashlib
import inspect
import os
from pathlib import Path

from paradp.policy.networks.conditional import ConditionalNetwork
from paradp.policy.spec import PolicySpec


def cache_folder() -> Path:
    """`PARADP_CACHE`, else `~/.cache/paradp`."""
    return Path(os.environ.get("PARADP_CACHE") or Path.home() / ".cache/paradp")


def digest(network: ConditionalNetwork, spec: PolicySpec, *sources: str) -> str:
    """Of the weights, of the structure that they fill, of the code that computes it, and of more files with code."""
    found = hashlib.sha256(f"{network} {spec}".encode())
    for source in (inspect.getfile(type(network)), *sources):
        found.update(Path(source).read_bytes())
    for tensor in network.state_dict().values():
        found.update(tensor.cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:24]


def sha256(*paths: Path) -> str:
    """Of files, one after another."""
    found = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while piece := file.read(2**20):
                found.update(piece)
    return found.hexdigest()
