"""The wheels beside other packages. Needs gigabytes from a package index: `make test-install-peers`."""

import json
import shutil

import pytest
from installing import ROOT, WEIGHTS, build_wheel, install, new_environment, output, torch_version


@pytest.mark.peers
@pytest.mark.parametrize("version", ["3.11", "3.12"])
def test_all_extras_together_run_the_rollout_of_the_makefile(tmp_path, version):
    bin = new_environment(version, tmp_path)
    install(bin, torch_version(), f"{build_wheel(ROOT, tmp_path)}[all]", build_wheel(WEIGHTS, tmp_path))
    output(bin / "pip", "check")
    # Its recipe alone, outside the checkout: the environment counts as installed.
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    (tmp_path / "installed").touch()
    output("make", "rollout", f"BIN={bin}", "INSTALLED=installed", cwd=tmp_path)
    assert "success (95 %)" in (tmp_path / "runs/demo/comparison.md").read_text()
    for sampler in ("ddpm", "auto"):
        assert json.loads((tmp_path / "runs/demo" / sampler / "summary.json").read_text())["episodes"] == 10
