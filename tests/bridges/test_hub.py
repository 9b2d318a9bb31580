"""Checkpoints on the Hub, tested with a local hub that answers like the real one."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from lerobot_fixtures import FACTS, PUSHT, put_together
from local_hub import COMMIT, LocalHub, serving

from paradp.bridges import hub as names
from paradp.checkpoints import checkpoint_digest, find_checkpoint, load_policy

PRETRAINED = Path(__file__).parents[2] / "checkpoints/pretrained"
NAME = "hf:someone/policy"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty hub and empty caches."""
    import huggingface_hub.constants as constants

    with serving() as found:
        monkeypatch.setenv("HF_ENDPOINT", found.endpoint)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
        monkeypatch.setenv("PARADP_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(names, "_FOUND", {})
        yield found


def forget(monkeypatch) -> None:
    """Forgets what a process remembers of the Hub."""
    monkeypatch.setattr(names, "_FOUND", {})


def test_a_policy_of_lerobot_is_loaded_by_the_name_of_its_repository(hub: LocalHub, tmp_path, monkeypatch):
    path = put_together("min_max", tmp_path / "theirs")
    (path / "checkpoints").mkdir()
    shutil.copy(path / "model.safetensors", path / "checkpoints")
    for other in ("optimizer.pt", "run.py"):
        (path / other).write_text("anything")
    hub.put("someone/policy", path)
    reports: list[tuple[int, int]] = []
    folder = find_checkpoint(NAME, lambda done, total: reports.append((done, total)))
    assert reports and reports[-1][0] == reports[-1][1] and all(done <= total for done, total in reports)
    assert load_policy(NAME, "ddim-5", engine="eager", **FACTS).spec.task == "reach"
    assert checkpoint_digest(folder) == checkpoint_digest(path)
    # Nothing but data, of the repository's own folder, and files instead of links.
    assert {name for name in hub.files if not name.startswith(("config", "policy_", "model."))} == set()
    assert not [file for file in folder.iterdir() if file.is_symlink()] and folder.name == f"someone--policy@{COMMIT}"
    asked = len(hub.asked)
    assert find_checkpoint(NAME) == find_checkpoint(f"{NAME}@main") == find_checkpoint(f"{NAME}@{COMMIT}") == folder
    forget(monkeypatch)
    assert find_checkpoint(NAME) == folder and len(hub.asked) - asked < 6
    assert hub.files.count("model.safetensors") <= 2  # HEAD and GET


def test_a_revision_is_fixed_and_a_branch_moves(hub: LocalHub, tmp_path, monkeypatch):
    hub.put("someone/policy", PRETRAINED / "pusht")
    first = find_checkpoint(NAME)
    hub.put("someone/policy", PRETRAINED / "lift", commit := "f" * 40)
    assert find_checkpoint(NAME) == first  # in one process a name stays what it was
    forget(monkeypatch)
    assert find_checkpoint(NAME).name.endswith(commit) and load_policy(NAME, "ddim-5", engine="eager").spec.task == "lift"
    assert find_checkpoint(f"{NAME}@{COMMIT}") == first


def test_without_a_network_the_cache_is_used(hub: LocalHub, monkeypatch):
    hub.put("someone/policy", PRETRAINED / "pusht")
    folder = find_checkpoint(NAME)
    forget(monkeypatch)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert find_checkpoint(NAME) == find_checkpoint(f"{NAME}@{COMMIT}") == folder
    with pytest.raises(OSError, match=r"^hf:someone/other is not in the cache, and the Hub cannot be reached$"):
        find_checkpoint("hf:someone/other")


def write(folder: Path, **files: str) -> Path:
    folder.mkdir()
    for name, text in files.items():
        (folder / name.replace("_json", ".json")).write_text(text)
    return folder


def test_a_repository_without_a_policy_is_refused_before_weights_are_downloaded(hub: LocalHub, tmp_path):
    language = '{"architectures": ["LlamaForCausalLM"], "model_type": "llama"}'
    act = (PRETRAINED.parents[1] / "tests/data/lerobot/min_max/config.json").read_text().replace("diffusion", "act")
    cases = {
        "empty": ({}, "holds no policy: it has no config.json"),
        "language": ({"config_json": language}, "holds no policy that paradp reads: it lacks statistics.json, README.md"),
        "act": ({"config_json": act}, "reads: hf:a/act is a policy of LeRobot of type 'act'; of LeRobot's, diffusion"),
        "diffusers": ({"config_json": "{}", "model_index_json": "{}"}, "reads: a pipeline of diffusers"),
        "damaged": ({"config_json": '{"type": "diffusion", '}, "reads: hf:a/damaged/config.json cannot be read"),
    }
    for name, (files, said) in cases.items():
        hub.put(f"a/{name}", write(tmp_path / name, **files, **{"model.safetensors": "large"}))
        with pytest.raises(ValueError, match=said):
            find_checkpoint(f"hf:a/{name}")
    assert "model.safetensors" not in hub.files
    hub.put("a/light", shutil.copytree(PRETRAINED / "pusht", tmp_path / "light"))
    (tmp_path / "light/model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"^hf:a/light holds no policy: it has no model.safetensors"):
        find_checkpoint("hf:a/light")
    assert not list((tmp_path / "cache/hub").iterdir())


@pytest.mark.parametrize(
    "name", ["hf:", "hf:policy", "hf:a/b/c", "hf:../b", "hf:a/..", "hf:a/b@", "hf:a/b@../c d", "hf:a/b--c"]
)
def test_invalid_names_are_refused(hub: LocalHub, name):
    with pytest.raises(ValueError, match="is not a name on the Hub"):
        find_checkpoint(name)
    assert not hub.asked


def test_unknown_repositories_and_revisions_are_named(hub: LocalHub):
    hub.put("someone/policy", PRETRAINED / "pusht")
    with pytest.raises(ValueError, match=r"^the Hub has no nobody/nothing; if it is private, log in"):
        find_checkpoint("hf:nobody/nothing")
    with pytest.raises(ValueError, match=r"^someone/policy has no revision 'v7' on the Hub"):
        find_checkpoint(f"{NAME}@v7")


def run(hub: LocalHub, tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess:
    places = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "hf"), "PARADP_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "paradp.scripts", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | places, cwd=tmp_path)


def test_the_commands_take_names_on_the_hub_and_fail_in_one_sentence(hub: LocalHub, tmp_path):
    path = put_together("min_max", tmp_path / "theirs")
    (path / "paradp.yaml").write_text("task: pusht\ncontrol_hz: 10\naction_low: [0, 0, 0]\naction_high: [512, 512, 512]\n")
    assert "task: pusht" in PUSHT
    hub.put("someone/policy", path)
    shown = run(hub, tmp_path, "info", "--checkpoint", NAME)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith(f"asking the Hub for {NAME} …\n") and "downloading hf:someone/policy" in shown.stdout
    converted = run(hub, tmp_path, "convert", NAME, "--out", "ours")
    assert converted.returncode == 0, converted.stderr
    assert (tmp_path / "ours/statistics.json").is_file()
    for name, said in (
        ("hf:a/b", "the Hub has no a/b"),
        ("hf:a", "is not a name on the Hub"),
        (f"{NAME}@x", "no revision 'x'"),
    ):
        refused = run(hub, tmp_path, "rollout", "pusht", "--checkpoint", name)
        assert refused.returncode == 2 and said in refused.stderr and refused.stderr.count("\n") == 1, refused.stderr


def test_a_message_comes_within_two_seconds(tmp_path):
    """Even if nothing answers."""
    places = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "hf"), "PARADP_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "paradp.scripts", "serve", NAME]
    began = time.monotonic()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | places
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        line = process.stdout.readline()
        waited = time.monotonic() - began
        assert line == f"asking the Hub for {NAME} …\n"
        assert process.stderr.read() == f"paradp: {NAME} is not in the cache, and the Hub cannot be reached\n"
    assert process.returncode == 2 and waited < 10  # two seconds on a machine that does nothing else
