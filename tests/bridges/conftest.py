"""Checkpoints of other programs, each in a separate folder."""

from collections.abc import Callable
from pathlib import Path

import diffusion_policy_fixtures
import pytest
from lerobot_fixtures import put_together


@pytest.fixture
def lerobot(tmp_path: Path) -> Callable[[str], Path]:
    """Copies a LeRobot fixture with this name into a folder."""
    return lambda name: put_together(name, tmp_path / name)


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[str], Path]:
    """Copies a fixture of Diffusion Policy or robomimic with this name into a file."""
    return lambda name: diffusion_policy_fixtures.put_together(name, tmp_path)
