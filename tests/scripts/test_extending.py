"""docs/extend.md followed by a user: a package adds a solver, an engine and a network."""

import importlib
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from documented import ROOT, blocks

from paradp.checkpoints.store import read_info, save_checkpoint
from paradp.policy import build_engine
from paradp.policy.learning.config import TrainingConfig
from paradp.policy.learning.training import train
from paradp.policy.networks.configs import NETWORKS, find_network
from paradp.sampler import NoisePath, SamplerChoice, Sequential, families, mixture_denoiser, sampler_names
from paradp.sampler.plugins import plugins
from paradp.scripts import studies
from paradp.scripts.study import study

PARADP = Path(sys.executable).with_name("paradp")
PAGE = ROOT / "docs/extend.md"
*FILES, STUDY = blocks(PAGE, "python")
GROUPS = {"paradp.solvers", "paradp.engines", "paradp.networks"}


@pytest.fixture
def installed(tmp_path):
    """Writes what `pip install` would: every file of the page, and an entry point for each."""
    package, *entries = blocks(PAGE, "toml")
    about = tmp_path / "extending-0.1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: extending\nVersion: 0.1\n")
    lines = []
    for file, line in zip(FILES, entries, strict=True):
        [(group, points)] = tomllib.loads(line.text)["project"]["entry-points"].items()
        [(name, value)] = points.items()
        (tmp_path / f"{value.partition(':')[0]}.py").write_text(file.text)
        lines += [f"[{group}]", f"{name} = {value}"]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n")
    assert {line[1:-1] for line in lines[::2]} == GROUPS
    modules = tomllib.loads(package.text)["tool"]["setuptools"]["py-modules"]
    assert {f"{module}.py" for module in modules} == {path.name for path in tmp_path.glob("*.py")}
    return tmp_path


@pytest.fixture
def here(installed, monkeypatch):
    """The same in this process, removed after the test."""
    monkeypatch.syspath_prepend(installed)
    importlib.invalidate_caches()
    plugins.cache_clear()
    before = [(known, dict(known)) for known in (families.SAMPLERS, families.WAYS, NETWORKS)]
    yield installed
    for known, content in before:
        known.clear()
        known.update(content)
    plugins.cache_clear()
    for name in ("jacobi", "exported", "mlp"):
        sys.modules.pop(name, None)


def run(installed: Path, *arguments: str) -> str:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(installed), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([PARADP, *arguments], capture_output=True, text=True, env=environment, cwd=installed, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def solve(solver, table, seeds=range(4)):
    noise = NoisePath.draw([torch.Generator().manual_seed(i) for i in seeds], table.steps, (4, 2))
    return solver.solve(mixture_denoiser(table), torch.zeros(len(seeds), 1), noise)


SCHEDULE = {
    "_class_name": "DDPMScheduler",
    "num_train_timesteps": 100,
    "beta_schedule": "squaredcos_cap_v2",
    "clip_sample": True,
}


@pytest.mark.parametrize("steps", ["ddpm-20", "ddim-10", "dpm-solver-10", "sde-dpm-solver-10"])
def test_a_solver_is_a_prefix_for_every_kind_of_steps(here, steps):
    solver = SamplerChoice.parse(f"jacobi-{steps}:tolerance=0").build(SCHEDULE)
    assert type(solver).__name__ == "Jacobi" and solver.tolerance == 0
    exactly, sequential = solve(solver, solver.table), solve(Sequential(solver.table), solver.table)
    assert torch.allclose(exactly.sample, sequential.sample, atol=1e-5)
    assert exactly.stats.converged.all() and (exactly.stats.rounds <= solver.table.steps).all()
    loosely = solve(SamplerChoice.parse(f"jacobi-{steps}:tolerance=0.3").build(SCHEDULE), solver.table)
    assert (loosely.stats.rounds < exactly.stats.rounds).all()


def test_a_solver_is_found_by_its_names(here):
    assert {"jacobi-ddpm", "jacobi-ddpm-N", "jacobi-flow-N"} <= set(sampler_names())
    choice = SamplerChoice.parse("jacobi-ddim-10")
    assert not choice.exact and str(choice.sequential) == "ddim-10"
    with pytest.raises(ValueError, match="jacobi-ddpm has no option 'tolerence' — did you mean 'tolerance'"):
        SamplerChoice.parse("jacobi-ddpm:tolerence=1")
    with pytest.raises(ValueError, match="two solvers have the name 'jacobi'"):
        families.register_solver("jacobi", families.Way("another"))
    before = dict(families.SAMPLERS)
    with pytest.raises(ValueError, match="a solver cannot be named 'sde': there is a sampler 'sde-dpm-solver'"):
        families.register_solver("sde", families.Way("another"))
    assert before == families.SAMPLERS and "sde-" not in families.WAYS


def test_an_engine_predicts_as_pytorch_does(here, trained):
    place = torch.device("cpu")
    engine = build_engine(trained.network, trained.spec, place, "exported")  # refuses one that does not agree
    eager = build_engine(trained.network, trained.spec, place, "eager")
    for rows in (1, 2, 7):
        x, t = torch.randn(rows, 16, 2), torch.full((rows,), 50)
        condition = torch.randn(rows, trained.spec.condition_size)
        expected = eager(x, t, eager.encode(condition))
        assert torch.allclose(engine(x, t, engine.encode(condition)), expected, atol=1e-5)
    with pytest.raises(ValueError, match="unknown engine 'exportet' — did you mean 'exported'"):
        build_engine(trained.network, trained.spec, place, "exportet")
    with pytest.raises(ValueError, match="fp32 only"):
        build_engine(trained.network, trained.spec, place, "exported", "bf16")


def test_a_network_is_trained_and_stored(here, demonstrations, tmp_path):
    config = TrainingConfig(network=find_network("mlp")(width=32), steps=5, batch_size=8)
    saved = []
    train(demonstrations, config, tmp_path / "state", save=lambda trained, _: saved.append(trained))
    assert type(saved[-1].network).__name__ == "Mlp"
    save_checkpoint(saved[-1], tmp_path / "checkpoint", "# a card")
    network = read_info(tmp_path / "checkpoint").spec.network
    assert (network.kind, network.width, network.describe()) == ("mlp", 32, "perceptron of width 32")
    with pytest.raises(ValueError, match="width must be from 8 to 8192, not 9000"):
        find_network("mlp")(width=9000)
    with pytest.raises(ValueError, match="unknown network 'mlb' — did you mean 'mlp'"):
        find_network("mlb")


BROKEN = {
    "jacobi of paradp.solvers (jacobi:JACOBI)": """
from paradp.sampler import SamplerChoice
SamplerChoice.parse("ddim-10"); print("ok"); SamplerChoice.parse("jacobi-ddpm")""",
    "exported of paradp.engines (exported:ExportedEngine)": """
from paradp.checkpoints import load_policy
load_policy("lift", "ddim-5", engine="eager"); print("ok"); load_policy("lift", "ddim-5", engine="exported")""",
    "mlp of paradp.networks (mlp:MlpConfig)": """
from paradp.policy.networks.configs import find_network
find_network("unet"); print("ok"); find_network("mlp")""",
}


@pytest.mark.parametrize("which", BROKEN)
def test_a_broken_extension_is_named_and_affects_nothing_else(installed, which):
    (installed / f"{which.partition(' ')[0]}.py").write_text("import no_such_module")
    program = BROKEN[which]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(installed), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert done.stdout == "ok\n", done.stderr
    name, _, rest = which.partition(" ")
    assert f"'{name}' {rest} cannot be imported: No module named 'no_such_module'" in done.stderr


def test_the_pages_commands_are_parsed(installed):
    environment = {"PYTHONPATH": os.pathsep.join([str(installed), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "documented", PAGE]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)
    assert done.returncode == 0, done.stderr
    for name in ("jacobi-ddpm-20", "--engine exported", "--network mlp"):
        assert name in done.stdout


def test_the_commands_list_them(installed):
    assert "jacobi-ddpm-N" in run(installed, "info", "samplers")
    assert "exported" in run(installed, "rollout", "--help")
    assert "network mlp, default: 512" in " ".join(run(installed, "train", "--help").replace("│", "").split())


@pytest.mark.slow
def test_extensions_work_in_closed_loop(installed):
    short = ["--episodes", "2", "--max-steps", "10"]
    both = ["--sampler", "jacobi-ddim-5", "--engine", "exported"]
    assert "jacobi-ddim-5" in run(installed, "rollout", "lift", *both, *short, "--videos", "0", "--out", "out")
    run(installed, "evaluate", "lift", "--samplers", "ddim-5,jacobi-ddim-5", *short, "--workers", "2", "--out", "grid")
    run(installed, "collect", "lift", "--episodes", "4", "--out", "lift.zarr")
    run(installed, "train", "lift", "--data", "lift.zarr", "--network", "mlp", "--steps", "20", "--out", "mlp")
    run(
        installed,
        "rollout",
        "lift",
        "--checkpoint",
        "mlp/checkpoint",
        "--sampler",
        "ddim-5",
        *short,
        "--videos",
        "0",
        "--out",
        "mlp-out",
    )


def test_a_study_writes_its_page(tmp_path, monkeypatch):
    folder = tmp_path / "studies"
    folder.mkdir()
    (folder / "rounds_by_step.py").write_text(STUDY.text)
    monkeypatch.setattr(studies, "__path__", [*studies.__path__, str(folder)])
    study("rounds-by-step", out=tmp_path)
    sys.modules.pop(f"{studies.__name__}.rounds_by_step")
    page = (tmp_path / "rounds-by-step.md").read_text()
    rounds = [float(rounds) for rounds in re.findall(r"^\| \d+ \| ([\d.]+) \|$", page, re.MULTILINE)]
    assert len(rounds) == 4 and rounds[0] <= 10 and rounds[-1] < 50
