"""Checkpoints load as they were saved, and damaged or hostile ones are refused with one sentence."""

import dataclasses
import errno
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from paradp.checkpoints import (
    checkpoint_digest,
    find_checkpoint,
    load_policy,
    load_trained,
    pretrained,
    read_card,
    read_info,
    save_checkpoint,
    store,
)
from paradp.policy.observations import blank
from paradp.sampler import SamplerChoice


@pytest.fixture
def checkpoint(tmp_path, trained):
    path = tmp_path / "policy"
    save_checkpoint(trained, path, "# a card")
    return path


def plan(policy):
    histories = {key: values + np.float32(0.3) for key, values in blank(policy.spec, 1, 2).items()}
    return policy.plan(histories, [torch.Generator().manual_seed(0)]).actions


def test_a_loaded_policy_equals_the_saved_one(checkpoint, trained):
    policy = load_policy(checkpoint, "ddpm")
    assert policy.spec == trained.spec == read_info(checkpoint).spec
    for name, tensor in trained.network.state_dict().items():
        assert torch.equal(policy.network.state_dict()[name], tensor)
    assert (checkpoint / "README.md").read_text() == "# a card"
    assert sorted(p.name for p in checkpoint.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "statistics.json",
    ]


def test_half_precision_halves_the_file_and_hardly_moves_the_plan(checkpoint, trained, tmp_path):
    save_checkpoint(trained, tmp_path / "half", "# a card", half=True)
    full, half = load_policy(checkpoint, "ddpm"), load_policy(tmp_path / "half", "ddpm")
    sizes = [(p / "model.safetensors").stat().st_size for p in (checkpoint, tmp_path / "half")]
    assert sizes[1] < 0.7 * sizes[0]
    assert np.abs(plan(full) - plan(half)).max() < 0.05


def test_saving_again_replaces(checkpoint, trained):
    save_checkpoint(trained, checkpoint, "# another card")
    assert (checkpoint / "README.md").read_text() == "# another card"
    assert plan(load_policy(checkpoint)).shape == (1, 15, 2)
    assert [p.name for p in checkpoint.parent.iterdir()] == ["policy"]


def test_a_save_after_a_kill_between_its_renames_loses_nothing(checkpoint, trained, monkeypatch):
    """A killed save has left the old checkpoint under its temporary name, and the disk is full."""
    before = {path.name: path.read_bytes() for path in checkpoint.iterdir()}
    checkpoint.rename(checkpoint.with_name(f".{checkpoint.name}.old"))
    checkpoint.with_name(f".{checkpoint.name}.partial").mkdir()

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(store, "_write", full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(trained, checkpoint, "# another card")
    assert {path.name: path.read_bytes() for path in checkpoint.iterdir()} == before
    assert [path.name for path in checkpoint.parent.iterdir()] == ["policy"]


@pytest.mark.parametrize(
    "read",
    [find_checkpoint, load_trained, read_info, checkpoint_digest, lambda path: load_policy(path, "ddpm", engine="eager")],
    ids=["find", "weights", "description", "digest", "policy"],
)
def test_a_checkpoint_is_found_after_a_kill_between_the_renames_of_a_save(checkpoint, read):
    before = {path.name: path.read_bytes() for path in checkpoint.iterdir()}
    checkpoint.rename(checkpoint.with_name(f".{checkpoint.name}.old"))
    read(checkpoint)
    assert {path.name: path.read_bytes() for path in checkpoint.iterdir()} == before
    assert [path.name for path in checkpoint.parent.iterdir()] == ["policy"]


def test_an_incomplete_checkpoint_is_not_restored(checkpoint):
    """For example one that was being removed."""
    old = checkpoint.rename(checkpoint.with_name(f".{checkpoint.name}.old"))
    (old / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="no checkpoint"):
        find_checkpoint(checkpoint)
    assert not checkpoint.exists()


def test_a_save_continues_if_a_reader_restores_the_old_checkpoint(checkpoint, trained, monkeypatch):
    """Between the two renames, a reader assumes that the save was killed."""
    really_rename, met = Path.rename, []

    def rename(path, target):
        moved = really_rename(path, target)
        if path == checkpoint and not met:
            met.append(find_checkpoint(checkpoint))
        return moved

    monkeypatch.setattr(Path, "rename", rename)
    save_checkpoint(trained, checkpoint, "# another card")
    assert met and (checkpoint / "README.md").read_text() == "# another card"
    assert [path.name for path in checkpoint.parent.iterdir()] == ["policy"]


def test_a_checkpoint_is_saved_through_a_link(checkpoint, trained, tmp_path):
    (tmp_path / "link").symlink_to(checkpoint)
    save_checkpoint(trained, tmp_path / "link", "# another card")
    assert (tmp_path / "link").is_symlink() and (checkpoint / "README.md").read_text() == "# another card"


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "statistics.json", "README.md"])
def test_a_missing_file_is_named(checkpoint, name):
    (checkpoint / name).unlink()
    with pytest.raises(ValueError, match=f"lacks {name}"):
        load_policy(checkpoint)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("config.json", r"config\.json cannot be read"),
        ("model.safetensors", "truncated or replaced"),
        ("statistics.json", r"statistics\.json cannot be read"),
    ],
)
def test_a_truncated_file_is_named(checkpoint, name, message):
    path = checkpoint / name
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=message):
        load_policy(checkpoint)


def test_a_pickle_is_never_opened(checkpoint):
    class Hostile:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    content = pickle.dumps(Hostile())
    (checkpoint / "model.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match="truncated or replaced"):
        load_policy(checkpoint)
    # Even with a digest that matches, the file is read as safetensors or not at all.
    import hashlib

    config = json.loads((checkpoint / "config.json").read_text())
    config["model_sha256"] = hashlib.sha256(content).hexdigest()
    (checkpoint / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="cannot be read"):
        load_policy(checkpoint)


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        (("spec", "network", "channels"), [8, 16, 32], "does not fit its config.json"),
        (("spec", "network", "channels"), "huge", "channels"),
        (("spec", "horizons", "execute"), 99, "not predicted"),
        (("spec", "observation"), {"position": 3, "constant": 1}, "does not fit its config.json|dimensions"),
        (("spec", "schedule", "_class_name"), "os.system", "the schedule is a config of 'os.system'"),
        (("spec", "schedule", "beta_schedule"), "cubic", "beta_schedule = 'cubic' is not supported"),
        (("spec", "schedule", "num_train_timesteps"), "many", "num_train_timesteps must be a whole number"),
        (("spec", "schedule", "num_train_timesteps"), None, "num_train_timesteps must be a whole number"),
        (("spec", "network", "kind"), "mamba", "spec.network: unknown network 'mamba'"),
        (("spec", "network"), {"kind": "transformer", "heads": 3}, "spec.network: transformer: embedding must be"),
        (("surprise",), 1, "surprise"),
    ],
)
def test_an_inconsistent_config_is_refused(checkpoint, where, value, message):
    config = json.loads((checkpoint / "config.json").read_text())
    part = config
    for key in where[:-1]:
        part = part[key]
    part[where[-1]] = value
    (checkpoint / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=message):
        load_policy(checkpoint)


@pytest.mark.parametrize(
    "options", [{"action_low": (-np.inf, -1.0)}, {"action_step": (np.inf, 0.1)}, {"controller": {"kp": np.inf}}]
)
def test_a_policy_with_infinite_limits_or_gains_is_refused(spec, options):
    with pytest.raises(ValueError, match="must be finite"):
        dataclasses.replace(spec, **options)


def test_a_config_that_only_has_a_unets_sizes_is_read(checkpoint):
    config = json.loads((checkpoint / "config.json").read_text())
    config["spec"]["unet"] = config["spec"].pop("network")
    del config["spec"]["unet"]["kind"]
    (checkpoint / "config.json").write_text(json.dumps(config))
    assert load_policy(checkpoint).spec.network.kind == "unet"


@pytest.mark.parametrize("content", ["[]", "{", '{"spec": 3}', '{"spec": {"unet": 3}}'])
def test_an_invalid_config_is_refused(checkpoint, content):
    (checkpoint / "config.json").write_text(content)
    with pytest.raises(ValueError, match=r"config\.json cannot be read"):
        load_policy(checkpoint)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("inf"), float("nan")])
def test_statistics_that_would_give_nan_are_refused(checkpoint, scale):
    path = checkpoint / "statistics.json"
    statistics = json.loads(path.read_text())
    statistics["action_scale"][0] = scale
    path.write_text(json.dumps(statistics))
    with pytest.raises(ValueError, match=r"statistics\.json"):
        load_policy(checkpoint)


def test_the_error_for_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="no checkpoint 'sqare'"):
        find_checkpoint("sqare")


def test_the_error_for_an_unknown_device_lists_the_available_ones(checkpoint):
    with pytest.raises(ValueError, match="'abacus' is not available; there is: cpu"):
        load_policy(checkpoint, device="abacus")


@pytest.mark.parametrize("name", pretrained())
def test_a_pretrained_policy_fits_its_task(name):
    from paradp.rollouts.episodes.environments import check_fits

    policy = load_policy(name, "ddpm")
    check_fits(policy.spec, name)
    assert (find_checkpoint(name) / "model.safetensors").stat().st_size < 40e6
    assert "Not measured yet" not in (find_checkpoint(name) / "README.md").read_text()


def test_a_card_that_is_not_text_is_named(checkpoint):
    (checkpoint / "README.md").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"README\.md is not text"):
        read_card(checkpoint)


@pytest.mark.parametrize("name", ["config.json", "statistics.json", "model.safetensors", "README.md"])
def test_a_file_of_a_checkpoint_must_lie_in_its_directory(checkpoint, name):
    (checkpoint / name).rename(checkpoint.parent / name)
    (checkpoint / name).symlink_to(checkpoint.parent / name)
    with pytest.raises(ValueError, match=f"{name} is a link that leads out of its folder"):
        load_policy(checkpoint), read_card(checkpoint)


def test_timesteps_that_an_engine_has_not_tabulated_are_refused(trained, tmp_path):
    schedule = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 100, "shift": 3.0}
    shifted = dataclasses.replace(trained, spec=dataclasses.replace(trained.spec, schedule=schedule))
    save_checkpoint(shifted, tmp_path / "flow", "card")
    refusal = r"step 1 is at timestep \d+\.\d+, and engines of policies support integer timesteps only"
    with pytest.raises(ValueError, match=refusal):
        load_policy(tmp_path / "flow", "flow-4", engine="eager")
    policy = load_policy(tmp_path / "flow", "flow-3:timesteps=100-50-10", engine="eager")
    for name in ("flow-4", "para-flow-4"):
        with pytest.raises(ValueError, match=refusal):
            policy.with_solver(SamplerChoice.parse(name).build(schedule))


def test_a_solver_of_a_longer_schedule_is_refused(checkpoint, trained):
    policy = load_policy(checkpoint, "ddim-5", engine="eager")
    longer = trained.spec.schedule | {"num_train_timesteps": 1000}
    with pytest.raises(ValueError, match=r"visits timesteps 0 to 999, but the policy has 0 to 99: build the solver for"):
        policy.with_solver(SamplerChoice.parse("ddpm").build(longer))


def test_saving_the_same_weights_again_keeps_draft_and_fidelity(checkpoint, trained):
    for name in ("draft.json", "draft.safetensors", "fidelity.json"):
        (checkpoint / name).write_text(name)
    save_checkpoint(trained, checkpoint, "# another card")
    for name in ("draft.json", "draft.safetensors", "fidelity.json"):
        assert (checkpoint / name).read_text() == name
    assert (checkpoint / "README.md").read_text() == "# another card"

    with torch.no_grad():
        next(trained.network.parameters()).add_(1)
    save_checkpoint(trained, checkpoint, "# another card")
    assert sorted(path.name for path in checkpoint.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "statistics.json",
    ]
