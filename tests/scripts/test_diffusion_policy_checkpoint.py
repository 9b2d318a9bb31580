"""A file of Diffusion Policy works wherever a command takes a checkpoint."""

import json
from pathlib import Path

import pytest
from diffusion_policy_fixtures import PUSHT, for_pusht


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    return for_pusht(tmp_path / "latest.ckpt")


def test_info_shows_the_policy_and_names_missing_facts(checkpoint, printed_by):
    said = printed_by("info", "--checkpoint", checkpoint, refused=True)
    assert "does not say its task, control_hz, action_low, action_high: write them into" in said
    (checkpoint.parent / "paradp.yaml").write_text(PUSHT)
    said = printed_by("info", "--checkpoint", checkpoint)
    assert "diffusion policy of Diffusion Policy" in said and "1-D U-Net, channels 16-24" in said
    assert "| observation | obs 18 |" in said and "own sampler | ddpm |" in said


def test_a_rollout_without_facts_names_the_missing_ones(checkpoint, printed_by, tmp_path):
    how = ("--checkpoint", checkpoint, "--engine", "eager", "--episodes", 1, "--max-steps", 3)
    rollout = ("rollout", "pusht", *how, "--sampler", "ddim-2", "--out", tmp_path / "run")
    assert "does not say its task" in printed_by(*rollout, refused=True)
    checkpoint.with_name("latest.ckpt.paradp.yaml").write_text(PUSHT)
    printed_by(*rollout)
    assert json.loads((tmp_path / "run/summary.json").read_text())["episodes"] == 1


def test_a_file_that_is_not_a_checkpoint_is_refused_at_once(printed_by, tmp_path):
    (tmp_path / "it.ckpt").write_bytes(b"hello")
    said = printed_by("rollout", "pusht", "--checkpoint", tmp_path / "it.ckpt", "--out", tmp_path / "run", refused=True)
    assert "it.ckpt is not a file that torch.save wrote since PyTorch 1.6" in said and not (tmp_path / "run").exists()


@pytest.mark.slow
def test_bench_measures_a_policy_of_another_program(checkpoint, printed_by, tmp_path):
    checkpoint.with_name("paradp.yaml").write_text(PUSHT)
    rows, how = tmp_path / "rows.json", ("--engines", "eager", "--repeats", 2)
    printed_by("bench", "pusht", "--checkpoint", checkpoint, *how, "--json", rows)
    assert {row["engine"] for row in json.loads(rows.read_text())} >= {"eager"}
