"""LeRobot's own class reads exported data. Needs gigabytes from a package index: `make test-install-peers`."""

import pytest
from installing import install, new_environment
from lerobot_data_fixtures import check_that_lerobot_reads


@pytest.mark.peers
def test_lerobot_reads_exported_data(tmp_path):
    bin = new_environment("3.12", tmp_path)
    install(bin, "lerobot[dataset]")
    check_that_lerobot_reads(bin / "python", tmp_path)
