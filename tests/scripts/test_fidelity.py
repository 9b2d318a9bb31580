"""`paradp fidelity` measures a checkpoint on a user's demonstrations, and refuses unusable ones with a sentence."""

import json

import pytest

from paradp.checkpoints import checkpoint_digest, read_info, save_checkpoint
from paradp.checkpoints.fidelity import cached_file
from paradp.policy.fidelity import Fidelity
from paradp.rollouts.evaluation import fidelity


@pytest.fixture
def checkpoint(trained, tmp_path):
    save_checkpoint(trained, tmp_path / "checkpoint", "card")
    return tmp_path / "checkpoint"


def test_a_checkpoint_is_measured_at_demonstrations(printed_by, checkpoint, demonstrations, monkeypatch):
    monkeypatch.setattr(fidelity, "STEPS", ("ddpm-8", "ddim-5", "ddpm-16:spacing=sine"))
    monkeypatch.setattr(fidelity, "FITTED", (3, 120))
    monkeypatch.setattr(fidelity, "FEW", (2, 120))
    monkeypatch.setattr(fidelity, "ETAS", (0.5, 2.5))
    monkeypatch.setattr(fidelity, "TRAJECTORIES", 2)
    small = ("--observations", 4, "--plans", 6, "--engine", "eager", "--threads", 1)
    printed = printed_by("fidelity", checkpoint, "--data", demonstrations.path, *small)
    assert "plans: " in printed and "fidelity.json" in printed
    measured = Fidelity.read(
        checkpoint / "fidelity.json", checkpoint_digest(checkpoint), read_info(checkpoint).spec.schedule
    )
    names = list(measured.steps)
    assert names[:3] == ["ddpm-8", "ddim-5", "ddpm-16:spacing=sine"] and names[3].startswith("ddpm-3:timesteps=99-")
    assert names[4] in ("sde-dpm-solver-2:eta=0.5:spacing=sine", "sde-dpm-solver-2:eta=2.5:spacing=sine")
    assert (measured.observations, measured.plans, measured.seed) == (4, 6, 30_000) and len(names) == 5
    assert measured.command.startswith(f"paradp fidelity {checkpoint} --data") and measured.source == "demonstrations"
    # The same command gives the same numbers, and replaces a measurement from when the folder could not be written.
    before = (checkpoint / "fidelity.json").read_bytes()
    cached = cached_file(checkpoint_digest(checkpoint))
    cached.parent.mkdir(parents=True, exist_ok=True)
    cached.write_bytes(before)
    printed_by("fidelity", checkpoint, "--data", demonstrations.path, *small)
    after = (checkpoint / "fidelity.json").read_bytes()
    assert json.loads(after)["steps"] == json.loads(before)["steps"] and not cached.exists()


def test_an_error_in_one_sentence_names_what_cannot_be_measured(printed_by, checkpoint, demonstrations, tmp_path):
    for arguments, said in (
        (["nonsense"], "no checkpoint 'nonsense'"),
        ([checkpoint], "unknown task 'reach'"),
        ([checkpoint, "--data", tmp_path / "none.zarr"], "holds no demonstrations"),
        (["lift", "--data", demonstrations.path], "holds demonstrations of 'reach', and the policy is for 'lift'"),
        ([checkpoint, "--data", demonstrations.path], "75 steps"),
        ([checkpoint, "--data", demonstrations.path, "--plans", 5], "--plans must be at least 6"),
        ([checkpoint, "--data", demonstrations.path, "--out", tmp_path], "is a directory; name a file"),
    ):
        extra = ["--observations", 60] if said == "75 steps" else []
        assert said in printed_by("fidelity", *arguments, *extra, refused=True)
    assert not (checkpoint / "fidelity.json").exists()
