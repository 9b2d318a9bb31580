"""Demonstrations, windows, and training that survives a kill."""

import dataclasses
import json

import numpy as np
import pytest
import torch
import zarr
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from paradp.checkpoints import load_trained, save_checkpoint
from paradp.policy import Horizons, Normalizer
from paradp.policy.demonstrations import Demonstrations
from paradp.policy.training import DenoisingObjective, TrainingConfig, spec_for, train
from paradp.policy.windows import cut_windows
from paradp.sampler import step_table

CONFIG = TrainingConfig(steps=12, batch_size=16, warmup_steps=2, save_every=4, log_every=4, channels=(8, 16), bf16=False)


VARIANTS = [
    {"prediction_type": "sample"},
    {"prediction_type": "v_prediction", "beta_schedule": "linear", "beta_start": 0.001, "beta_end": 0.2},
    {"network": "transformer", "layers": 1, "embedding": 16},
]


def ignore(trained, path):
    pass


def test_demonstrations_read_back(demonstrations, info):
    again = Demonstrations.open(demonstrations.path)
    assert again.info == info and len(again) == 6
    assert again.steps == sum(range(10, 16)) and again.seeds.tolist() == list(range(6))
    assert again.observations().shape == (again.steps, 3) and again.actions().shape == (again.steps, 2)
    assert again.observations()[0, 2] == 0.5


def test_what_a_kill_left_half_written_is_cut_off(demonstrations, info):
    before = demonstrations.observations()
    group = zarr.open_group(demonstrations.path, mode="r+")
    group["data/obs/position"].append(np.ones((5, 2), np.float32))
    group["meta/seeds"].append(np.array([99]))
    continued = Demonstrations.open_or_create(demonstrations.path, info)
    assert np.array_equal(continued.observations(), before) and continued.seeds.tolist() == list(range(6))


def test_an_end_that_was_never_filled_in_loses_nothing(demonstrations, info):
    """zarr first makes room for an entry and then writes it; a kill between the two leaves a zero."""
    before = demonstrations.observations()
    group = zarr.open_group(demonstrations.path, mode="r+")
    group["meta/episode_ends"].resize((7,))
    assert len(Demonstrations.open(demonstrations.path)) == 6
    continued = Demonstrations.open_or_create(demonstrations.path, info)
    assert len(continued) == 6 and np.array_equal(continued.observations(), before)


def test_other_demonstrations_are_not_mixed_in(demonstrations, info):
    other = dataclasses.replace(info, action_convention="absolute")
    with pytest.raises(ValueError, match="action_convention: delta there, absolute here"):
        Demonstrations.open_or_create(demonstrations.path, other)


def test_what_is_no_demonstrations_is_refused(tmp_path, demonstrations):
    with pytest.raises(ValueError, match="holds no demonstrations"):
        Demonstrations.open(tmp_path / "nothing.zarr")
    group = zarr.open_group(demonstrations.path, mode="r+")
    group["data/action"].resize((3, 2))
    with pytest.raises(ValueError, match="action end before the last episode"):
        Demonstrations.open(demonstrations.path)


def test_windows_stay_inside_their_episode(demonstrations):
    training, validation = cut_windows(demonstrations, Horizons(), validation_every=3)
    assert len(training) + len(validation) == demonstrations.steps
    starts = np.concatenate([[0], demonstrations.episode_ends[:-1]])
    for windows in (training, validation):
        for observed, predicted in zip(windows.observed.numpy(), windows.predicted.numpy(), strict=True):
            now = observed[1]
            episode = np.searchsorted(demonstrations.episode_ends, now, side="right")
            start, end = starts[episode], demonstrations.episode_ends[episode]
            assert observed[0] == max(now - 1, start)
            assert predicted.tolist() == [min(max(now - 1 + i, start), end - 1) for i in range(16)]
    held_out = {int(np.searchsorted(demonstrations.episode_ends, w[1], side="right")) for w in validation.observed}
    assert held_out == {2, 5}


def test_training_learns(demonstrations, tmp_path):
    losses = []
    config = TrainingConfig(steps=320, batch_size=32, learning_rate=3e-3, warmup_steps=5, channels=(8, 16), bf16=False)
    train(demonstrations, config, tmp_path / "run", ignore, lambda step, loss: losses.append(loss))
    assert np.mean(losses[-20:]) < 0.5 * np.mean(losses[:5])
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [100, 200, 300, 320] and lines[-1]["learning_rate"] == pytest.approx(
        0, abs=1e-9
    )


def test_a_killed_training_ends_as_if_it_had_not_been(demonstrations, tmp_path):
    whole = train(demonstrations, CONFIG, tmp_path / "whole", ignore)

    class Killed(Exception):
        pass

    def kill(step, loss):
        if step == 7:
            raise Killed

    with pytest.raises(Killed):
        train(demonstrations, CONFIG, tmp_path / "killed", ignore, kill)
    resumed_steps = []
    resumed = train(demonstrations, CONFIG, tmp_path / "killed", ignore, lambda step, loss: resumed_steps.append(step))
    assert resumed_steps == list(range(5, 13))
    for a, b in zip(whole.network.parameters(), resumed.network.parameters(), strict=True):
        assert torch.equal(a, b)
    steps = [json.loads(line)["step"] for line in (tmp_path / "killed/metrics.jsonl").read_text().splitlines()]
    assert steps == [4, 8, 12]


def test_training_goes_on_from_another_policy(demonstrations, tmp_path):
    first = train(demonstrations, CONFIG, tmp_path / "first", ignore)
    start = [p.clone() for p in first.network.parameters()]
    config = dataclasses.replace(CONFIG, steps=1, learning_rate=1e-9, warmup_steps=0)
    second = train(demonstrations, config, tmp_path / "second", ignore, init=first)
    for a, b in zip(start, second.network.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)
    other = dataclasses.replace(config, channels=(16, 32))
    with pytest.raises(ValueError, match="made for other observations, actions or network sizes"):
        train(demonstrations, other, tmp_path / "third", ignore, init=first)


def test_a_line_of_the_log_that_was_cut_short_is_dropped(demonstrations, tmp_path):
    train(demonstrations, CONFIG, tmp_path / "run", ignore)
    log = tmp_path / "run/metrics.jsonl"
    whole = log.read_text()
    log.write_text(whole + '{"step": 1')
    train(demonstrations, CONFIG, tmp_path / "run", ignore)
    assert log.read_text() == whole


def test_a_training_is_not_continued_as_another(demonstrations, tmp_path):
    train(demonstrations, CONFIG, tmp_path / "run", ignore)
    with pytest.raises(ValueError, match="another configuration"):
        train(demonstrations, dataclasses.replace(CONFIG, learning_rate=0.1), tmp_path / "run", ignore)
    state = tmp_path / "run/state.safetensors"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(ValueError, match="cannot be read: its header"):
        train(demonstrations, CONFIG, tmp_path / "run", ignore)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors, metadata: (tensors, None), "does not say which run"),
        (lambda tensors, metadata: (tensors, {"step": "3"}), "does not say which run"),
        (lambda tensors, metadata: (tensors, metadata | {"step": "-1"}), "does not say which run"),
        (lambda tensors, metadata: (tensors, metadata | {"identity": "another"}), "another configuration or data"),
        (lambda tensors, metadata: (dict(list(tensors.items())[1:]), metadata), "is damaged: the tensor .* is missing"),
        (lambda tensors, metadata: ({k: v.flatten() for k, v in tensors.items()}, metadata), "has shape"),
        (lambda tensors, metadata: (tensors | {"more": torch.ones(1)}, metadata), "nothing takes its tensor 'more'"),
    ],
)
def test_a_state_of_something_else_is_refused(demonstrations, tmp_path, change, message):
    train(demonstrations, CONFIG, tmp_path / "run", ignore)
    state = tmp_path / "run/state.safetensors"
    with safe_open(state, "pt") as file:
        metadata = file.metadata()
    save_file(*(lambda tensors, told: (tensors, state, told))(*change(load_file(state), metadata)))
    before = state.read_bytes()
    with pytest.raises(ValueError, match=message):
        train(demonstrations, CONFIG, tmp_path / "run", ignore)
    assert state.read_bytes() == before


def test_a_finished_training_hands_over_its_policy_again(demonstrations, tmp_path):
    saved = []
    train(demonstrations, CONFIG, tmp_path / "run", ignore)
    train(demonstrations, CONFIG, tmp_path / "run", lambda trained, path: saved.append(path))
    assert saved == [tmp_path / "run/checkpoint"]


@pytest.mark.parametrize("options", VARIANTS)
def test_other_networks_and_schedules_train_and_come_back(demonstrations, tmp_path, options):
    config = dataclasses.replace(CONFIG, **options)
    trained = train(demonstrations, config, tmp_path / "run", lambda t, path: save_checkpoint(t, path, "card"))
    loaded = load_trained(tmp_path / "run/checkpoint")
    assert loaded.spec == trained.spec
    for name, tensor in trained.network.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[name], tensor)


@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("beta_schedule", ["squaredcos_cap_v2", "linear"])
def test_what_is_learned_is_what_the_sampler_takes_a_prediction_for(demonstrations, prediction_type, beta_schedule):
    """A network that predicts the target itself is read by the step table as predicting the clean sample itself."""
    config = dataclasses.replace(CONFIG, prediction_type=prediction_type, beta_schedule=beta_schedule)
    spec = spec_for(demonstrations.info, config.network_config, config.schedule)
    windows, _ = cut_windows(demonstrations, spec.horizons, 2)
    normalizers = Normalizer.fit(windows.observations, spec.observation), Normalizer.fit(windows.actions, spec.action)
    objective = DenoisingObjective(spec, *normalizers)
    index, timestep, noise = objective.draw(windows, 32, torch.Generator().manual_seed(0))
    clean = normalizers[1].normalize(windows.batch(index)[1])
    table = step_table(spec.schedule)
    bar = table.alpha_bar[table.steps - 1 - timestep].float()[:, None, None]
    target = {"epsilon": noise, "sample": clean, "v_prediction": bar.sqrt() * noise - (1 - bar).sqrt() * clean}
    seen = []

    def network(noisy, t, condition):
        seen.append(noisy)
        return target[prediction_type]

    assert objective(network, windows, index, timestep, noise) < 1e-10
    step = table.steps - 1 - timestep
    flat = table.at(step).clean(seen[0].flatten(1), target[prediction_type].flatten(1))
    read = flat.reshape(clean.shape)
    # At the noisiest steps of an epsilon network the clean sample is float32's rounding over √ᾱ.
    assert ((read - clean).abs() < 1e-5 / bar.sqrt()).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta_schedule": "linear", "beta_end": 2.0}, "0 < beta_start ≤ beta_end < 1"),
        ({"beta_schedule": "linear", "beta_start": 0.0}, "0 < beta_start"),
        ({"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}, "ends with ᾱ = 0.36 and not near 0"),
        ({"network": "transformer", "embedding": 7}, "embedding must be"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_what_cannot_be_trained_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CONFIG, **options)


def test_a_loss_that_is_not_finite_ends_the_training(demonstrations, tmp_path):
    config = dataclasses.replace(CONFIG, learning_rate=1e30, warmup_steps=1)
    with pytest.raises(ValueError, match="the loss of step"):
        train(demonstrations, config, tmp_path / "run", ignore)
