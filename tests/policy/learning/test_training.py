"""Demonstrations, windows, and training that survives a kill."""

import dataclasses
import json
import math
import os
import threading
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
import zarr
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from vectors import joined, staged

from paradp.checkpoints import load_policy, load_trained, save_checkpoint
from paradp.policy import Horizons, Normalizer
from paradp.policy.data.demonstrations import Demonstrations
from paradp.policy.data.episode import DemonstrationEpisode
from paradp.policy.data.normalizer import ObservationNormalizer
from paradp.policy.data.windows import cut_windows
from paradp.policy.errors import SettingError
from paradp.policy.learning import training
from paradp.policy.learning.arithmetic import Arithmetic, measure
from paradp.policy.learning.training import DenoisingObjective, TrainingConfig, spec_for, train
from paradp.policy.networks.configs import NETWORKS
from paradp.policy.networks.network_config import NetworkConfig
from paradp.policy.networks.transformer_config import TransformerConfig
from paradp.policy.networks.unet import ConditionalUnet1D
from paradp.policy.networks.unet_config import UnetConfig
from paradp.policy.process import process_of
from paradp.policy.process_config import DiffusionConfig, FlowConfig
from paradp.policy.settings import Limits, kinds_of, setting, setting_fields
from paradp.sampler import step_table

SMALL = UnetConfig(channels=(8, 16))
CONFIG = TrainingConfig(steps=12, batch_size=16, warmup_steps=2, save_every=4, log_every=4, network=SMALL, bf16=False)


VARIANTS = [
    {"process": DiffusionConfig("sample")},
    {"process": DiffusionConfig("v_prediction", "linear", beta_start=0.001, beta_end=0.2)},
    {"network": TransformerConfig(layers=1, embedding=16)},
    {"network": UnetConfig(channels=(8,), kernel_size=3, groups=4), "process": FlowConfig()},
]


def ignore(trained, path):
    pass


def logged(out):
    """The metrics without durations."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def rewritten(demonstrations, path, info=None, change=lambda episode: episode):
    """Writes the same episodes again, with another description or changes."""
    ends = demonstrations.episode_ends
    columns = demonstrations.observations()
    written = Demonstrations.open_or_create(path, info or demonstrations.info)
    for seed, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
        observations = {key: values[start:end] for key, values in columns.items()}
        actions = demonstrations.actions()[start:end]
        written.append(change(DemonstrationEpisode(observations, actions, actions, seed)))
    return written


def test_demonstrations_read_back(demonstrations, info):
    again = Demonstrations.open(demonstrations.path)
    assert again.info == info and len(again) == 6
    assert again.steps == sum(range(10, 16)) and again.seeds.tolist() == list(range(6))
    assert joined(again.observations()).shape == (again.steps, 3) and again.actions().shape == (again.steps, 2)
    assert again.observations()["constant"][0] == 0.5


def test_what_a_kill_left_half_written_is_cut_off(demonstrations, info):
    before = joined(demonstrations.observations())
    group = zarr.open_group(demonstrations.path, mode="r+")
    group["data/obs/position"].append(np.ones((5, 2), np.float32))
    group["meta/seeds"].append(np.array([99]))
    continued = Demonstrations.open_or_create(demonstrations.path, info)
    assert np.array_equal(joined(continued.observations()), before) and continued.seeds.tolist() == list(range(6))


def test_an_end_that_was_never_filled_in_loses_nothing(demonstrations, info):
    """zarr first enlarges an array and then writes the entry; a kill in between leaves a zero."""
    before = joined(demonstrations.observations())
    group = zarr.open_group(demonstrations.path, mode="r+")
    group["meta/episode_ends"].resize((7,))
    assert len(Demonstrations.open(demonstrations.path)) == 6
    continued = Demonstrations.open_or_create(demonstrations.path, info)
    assert len(continued) == 6 and np.array_equal(joined(continued.observations()), before)


def test_other_demonstrations_are_not_mixed_in(demonstrations, info):
    other = dataclasses.replace(info, action_convention="absolute")
    with pytest.raises(ValueError, match="action_convention: delta there, absolute here"):
        Demonstrations.open_or_create(demonstrations.path, other)
    other = dataclasses.replace(info, observation={"constant": 1, "position": 2})
    with pytest.raises(ValueError, match=r"observation: \[\['position', 2\], \['constant', 1\]\] there"):
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
    config = TrainingConfig(steps=320, batch_size=32, learning_rate=3e-3, warmup_steps=5, network=SMALL, bf16=False)
    train(demonstrations, config, tmp_path / "run", ignore, lambda step, loss: losses.append(loss))
    assert np.mean(losses[-20:]) < 0.5 * np.mean(losses[:5])
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [100, 200, 300, 320] and lines[-1]["learning_rate"] == pytest.approx(
        0, abs=1e-9
    )


def test_a_killed_training_gives_the_same_result_as_an_uninterrupted_one(demonstrations, tmp_path):
    # Killed after a save, between two lines of the log.
    config = dataclasses.replace(CONFIG, log_every=5)
    whole = train(demonstrations, config, tmp_path / "whole", ignore)

    class Killed(Exception):
        pass

    def kill(step, loss):
        if step == 7:
            raise Killed

    with pytest.raises(Killed):
        train(demonstrations, config, tmp_path / "killed", ignore, kill)
    resumed_steps = []
    resumed = train(demonstrations, config, tmp_path / "killed", ignore, lambda step, loss: resumed_steps.append(step))
    assert resumed_steps == list(range(5, 13))
    for a, b in zip(whole.network.parameters(), resumed.network.parameters(), strict=True):
        assert torch.equal(a, b)
    assert logged(tmp_path / "killed") == logged(tmp_path / "whole")
    assert [line["step"] for line in logged(tmp_path / "whole")] == [5, 10, 12]


def test_training_goes_on_from_another_policy(demonstrations, tmp_path):
    first = train(demonstrations, CONFIG, tmp_path / "first", ignore)
    start = [p.clone() for p in first.network.parameters()]
    config = dataclasses.replace(CONFIG, steps=1, learning_rate=1e-9, warmup_steps=0)
    second = train(demonstrations, config, tmp_path / "second", ignore, init=first)
    for a, b in zip(start, second.network.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)
    other = dataclasses.replace(config, network=UnetConfig(channels=(16, 32)))
    with pytest.raises(SettingError, match=r"not those of the policy to start from \(network\.channels: .8, 16. in the p"):
        train(demonstrations, other, tmp_path / "third", ignore, init=first)


def test_a_line_of_the_log_that_was_cut_short_is_dropped(demonstrations, tmp_path):
    train(demonstrations, CONFIG, tmp_path / "run", ignore)
    log = tmp_path / "run/metrics.jsonl"
    whole = log.read_text()
    log.write_text(whole + '{"step": 1')
    train(demonstrations, CONFIG, tmp_path / "run", ignore)
    assert log.read_text() == whole


@pytest.mark.parametrize("spoilt", ["sparse", "pipe", "device", "folder", "text", "key", "text for a number"])
def test_a_spoilt_log_is_refused_before_it_fills_the_memory(spoilt, demonstrations, tmp_path):
    train(demonstrations, CONFIG, tmp_path / "run", ignore)
    log = tmp_path / "run/metrics.jsonl"
    sound = json.loads(log.read_text().splitlines()[0])
    if spoilt == "sparse":
        os.truncate(log, 2**33)
    elif spoilt in ("text", "key", "text for a number"):
        lines = {"text": [], "key": sound | {"more": 1}, "text for a number": sound | {"step": "x"}}
        log.write_text(json.dumps(lines[spoilt]) + "\n")
    else:
        log.unlink()
        {"pipe": os.mkfifo, "device": lambda path: path.symlink_to("/dev/zero"), "folder": Path.mkdir}[spoilt](log)
    with pytest.raises(ValueError, match=r"metrics.jsonl (is|has)"):
        train(demonstrations, CONFIG, tmp_path / "run", ignore)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rate": 0.1}, r"another configuration or other data \(learning_rate: 0.001 there, 0.1 here\)"),
        ({"seed": 1, "batch_size": 8}, r"\(batch_size: 16 there, 8 here; seed: 0 there, 1 here\)"),
        ({"process": FlowConfig()}, r"\(prediction_type: epsilon there, flow_prediction here\)"),
        ({"network": UnetConfig(channels=(8, 16), kernel_size=3)}, r"\(kernel_size: 5 there, 3 here\)"),
        ({"bf16": True}, r"\(bf16: False there, True here\)"),
        ({"steps": 20}, r"\(steps: 12 there, 20 here\); choose another --out\. To train .*: --init .*/run/checkpoint$"),
        ({"save_every": 2, "learning_rate": 0.1}, r"To train its policy on, start a new run from it: --init"),
        ({"steps": 20, "network": UnetConfig(channels=(16, 16))}, r"choose another --out$"),
    ],
)
def test_a_training_is_not_continued_with_other_settings(demonstrations, tmp_path, change, message):
    train(demonstrations, CONFIG, tmp_path / "run", ignore)
    with pytest.raises(ValueError, match=message):
        train(demonstrations, dataclasses.replace(CONFIG, **change), tmp_path / "run", ignore)


def test_a_training_is_continued_on_the_same_data_alone(demonstrations, info, tmp_path):
    """The path does not matter: a copy is the same data, and other episodes with the same description are not."""
    train(demonstrations, CONFIG, tmp_path / "run", ignore)

    def refused(change=lambda episode: episode, message=r"\(data: [0-9a-f]{12}… there, [0-9a-f]{12}… here\)", **description):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.zarr"
        other = rewritten(demonstrations, path, dataclasses.replace(info, **description), change)
        with pytest.raises(ValueError, match=message):
            train(other, CONFIG, tmp_path / "run", ignore)

    refused(lambda e: dataclasses.replace(e, actions=e.actions + np.float32(1e-6) * (e.seed == 3)))
    refused(lambda e: dataclasses.replace(e, observations={**e.observations, "position": e.observations["position"][::-1]}))
    # The same columns in another order: `position` has two, `constant` one.
    refused(
        observation={"constant": 1, "position": 2}, message=r"observation: \[\['position', 2\], \['constant', 1\]\] there"
    )
    refused(control_hz=10, message=r"\(control_hz: 20 there, 10 here\)")
    copy = rewritten(demonstrations, tmp_path / "copy.zarr", dataclasses.replace(info, made_with={"copied": True}))
    train(copy, CONFIG, tmp_path / "run", ignore)


def test_what_is_appended_meanwhile_is_not_read(demonstrations):
    """Opened demonstrations do not change, so the noted digest is that of the training data."""
    reader = Demonstrations.open(demonstrations.path)
    before = reader.digest()
    two = np.ones((5, 2))
    demonstrations.append(DemonstrationEpisode({"position": two, "constant": two[:, :1]}, two, two, 6))
    assert (len(reader), reader.steps, len(reader.actions()), len(reader.seeds)) == (6, 75, 75, 6)
    assert reader.digest() == before != Demonstrations.open(demonstrations.path).digest()
    assert len(cut_windows(reader, Horizons(), 5)[0].actions) == 75
    assert (len(demonstrations), demonstrations.steps) == (7, 80)


def test_episodes_that_end_elsewhere_are_other_data(demonstrations, tmp_path):
    before = demonstrations.digest()
    ends = zarr.open_group(demonstrations.path, mode="r+")["meta/episode_ends"]
    ends[0] = ends[0] + 1
    assert Demonstrations.open(demonstrations.path).digest() != before


def test_a_policy_to_start_from_may_observe_in_another_order(demonstrations, info, tmp_path):
    """A converted policy of LeRobot observes the state before the images. Observations are taken by name."""
    first = train(demonstrations, CONFIG, tmp_path / "first", ignore)
    swapped = {"constant": 1, "position": 2}
    other = rewritten(demonstrations, tmp_path / "o.zarr", dataclasses.replace(info, observation=swapped))
    same = train(demonstrations, CONFIG, tmp_path / "same", ignore, init=first)
    found = train(other, CONFIG, tmp_path / "other", ignore, init=first)
    assert list(other.info.observation) == [*swapped] != list(found.spec.observation) == list(first.spec.observation)
    for name, tensor in same.network.state_dict().items():
        assert torch.equal(found.network.state_dict()[name], tensor), name
    wider = rewritten(demonstrations, tmp_path / "w.zarr", dataclasses.replace(info, observation={"constant": 1}))
    with pytest.raises(ValueError, match=r"does not fit the demonstrations \(observation: .*in the policy, .*in the demons"):
        train(wider, CONFIG, tmp_path / "wider", ignore, init=first)
    assert not (tmp_path / "wider").exists()


def test_another_start_or_its_normaliser_is_another_run(demonstrations, tmp_path, trained):
    config = dataclasses.replace(CONFIG, steps=1)
    first = train(demonstrations, config, tmp_path / "first", lambda t, path: save_checkpoint(t, path, "card"))
    start = tmp_path / "first/checkpoint"
    train(demonstrations, config, tmp_path / "run", ignore, init=load_trained(start))
    train(demonstrations, config, tmp_path / "run", ignore, init=load_trained(start))
    other = load_trained(start)
    other.action_normalizer.scale *= 2
    for another in (other, None):
        with pytest.raises(ValueError, match=r"\(init: "):
            train(demonstrations, config, tmp_path / "run", ignore, init=another)
    assert first.spec == other.spec


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (None, "is damaged: it does not describe its training; remove it"),
        ({"step": "4", "identity": "{}"}, "an earlier version of paradp, which did not note the content of its data"),
        ({"training": "[]"}, "is damaged: "),
        ({"training": "[" * 100_000}, "is damaged: "),
    ],
)
def test_a_state_that_does_not_say_what_it_is_of_is_refused(demonstrations, tmp_path, metadata, message):
    train(demonstrations, CONFIG, tmp_path / "run", ignore)
    state = tmp_path / "run/state.safetensors"
    save_file(load_file(state), state, metadata)
    before = {path: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    with pytest.raises(ValueError, match=message):
        train(demonstrations, CONFIG, tmp_path / "run", ignore)
    assert {path: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


@pytest.mark.parametrize(("key", "value"), [("count", "-1"), ("count", "0.5"), ("total", "1e999")])
def test_a_state_whose_mean_cannot_be_is_refused(demonstrations, tmp_path, key, value):
    train(demonstrations, CONFIG, tmp_path / "run", ignore)
    state = tmp_path / "run/state.safetensors"
    with safe_open(state, "pt") as file:
        noted = json.loads(file.metadata()["training"])
    noted["losses"][key] = "HERE"
    save_file(load_file(state), state, {"training": json.dumps(noted).replace('"HERE"', value)})
    with pytest.raises(ValueError, match=r"state\.safetensors is damaged: .*(losses\.count|too large)"):
        train(demonstrations, CONFIG, tmp_path / "run", ignore)


@pytest.mark.parametrize("change", ["cut", "missing", "broadcast", "directory"])
def test_a_damaged_state_is_refused(demonstrations, tmp_path, change):
    train(demonstrations, CONFIG, tmp_path / "run", ignore)
    state = tmp_path / "run/state.safetensors"
    with safe_open(state, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(state)
    name = next(name for name, tensor in tensors.items() if name.startswith("network.") and tensor.ndim == 1)
    if change == "cut":
        state.write_bytes(state.read_bytes()[:1000])
    elif change == "missing":
        save_file({key: tensor for key, tensor in tensors.items() if key != name}, state, metadata)
    elif change == "broadcast":
        save_file({**tensors, name: tensors[name][:1].clone()}, state, metadata)
    else:
        state.unlink()
        state.mkdir()
    with pytest.raises(ValueError, match=r"state\.safetensors is damaged"):
        train(demonstrations, CONFIG, tmp_path / "run", ignore)


def test_a_training_takes_no_folder_of_others(demonstrations, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/run.json").touch()
    with pytest.raises(ValueError, match="is not empty and holds no training"):
        train(demonstrations, CONFIG, tmp_path / "run", ignore)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["run.json"]


def test_a_training_has_one_process(demonstrations, tmp_path):
    refused = []

    def another(step, loss):
        def run():
            with pytest.raises(ValueError, match="run is being written by another thread"):
                train(demonstrations, CONFIG, tmp_path / "run", ignore)
            refused.append(step)

        if step == 5:
            thread = threading.Thread(target=run)
            thread.start()
            thread.join()

    train(demonstrations, CONFIG, tmp_path / "run", ignore, another)
    assert refused == [5]


class Clock:
    """A simulated clock that advances with each step: seconds per window, in fp32 and in bf16."""

    def __init__(self, fp32: float, bf16: float):
        self.now, self.steps, self._cost = 0.0, [], {False: fp32, True: bf16}

    def step(self, bf16: bool, windows: int) -> None:
        self.steps.append((bf16, windows))
        self.now += windows * self._cost[bf16]

    def measure(self, batch_size: int) -> Arithmetic:
        return measure(self.step, batch_size, lambda: self.now)


def test_the_faster_arithmetic_is_taken():
    slow, fast, even = Clock(0.004, 0.15), Clock(0.004, 0.002), Clock(0.004, 0.005)
    assert not (found := slow.measure(256)).bf16
    assert str(found) == "fp32: a step of 16 windows takes 2400 ms in bf16 and 64 ms in fp32 here"
    # What is forty times as slow is not tried at full size.
    assert max(windows for _, windows in slow.steps) == 16
    assert fast.measure(256).bf16 and not even.measure(256).bf16
    assert {(True, 256), (False, 256)} <= {*fast.steps}
    assert str(Clock(0.004, 0.002).measure(8)) == "bf16: a step takes 16 ms in bf16 and 32 ms in fp32 here"


def test_a_resumed_training_keeps_its_arithmetic(demonstrations, tmp_path):
    config, asked, begun = dataclasses.replace(CONFIG, bf16=None, steps=8), [], []

    def choose(step, batch_size):
        step(True, 4)
        asked.append(batch_size)
        return Arithmetic(True, "measured")

    def never(step, batch_size):
        raise AssertionError("measured again")

    def kill(step, loss):
        if step == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(demonstrations, config, tmp_path / "run", ignore, kill, choose=choose)
    found = train(demonstrations, config, tmp_path / "run", ignore, on_arithmetic=begun.append, choose=never)
    assert asked == [16] and begun == [Arithmetic(True, "measured")]
    # What was measured is what can be asked for; and measuring changed nothing.
    same = dataclasses.replace(config, bf16=True)
    train(demonstrations, same, tmp_path / "run", ignore, choose=never)
    whole = train(demonstrations, same, tmp_path / "whole", ignore, choose=never)
    assert all(torch.equal(a, b) for a, b in zip(found.network.parameters(), whole.network.parameters(), strict=True))
    with pytest.raises(ValueError, match=r"\(bf16: True there, False here\)"):
        train(demonstrations, dataclasses.replace(config, bf16=False), tmp_path / "run", ignore)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors, metadata: (dict(list(tensors.items())[1:]), metadata), "is damaged: the tensor .* is missing"),
        (lambda tensors, metadata: ({k: v.flatten() for k, v in tensors.items()}, metadata), "has shape"),
        (lambda tensors, metadata: (tensors | {"more": torch.ones(1)}, metadata), "the tensor 'more' is not expected"),
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
def test_the_network_learns_the_quantity_that_its_sampler_expects(demonstrations, prediction_type, beta_schedule):
    """If a network predicts the exact target, the step table must get the exact clean sample from it."""
    spec = spec_for(demonstrations.info, CONFIG.network, DiffusionConfig(prediction_type, beta_schedule).schedule)
    windows, _ = cut_windows(demonstrations, spec.horizons, 2)
    normalizers = (
        ObservationNormalizer.fit(windows.observations, spec.observed),
        Normalizer.fit(windows.actions, spec.action),
    )
    objective = DenoisingObjective(spec, *normalizers)
    index, timestep, noise = objective.draw(windows, 32, torch.Generator().manual_seed(0))
    clean = normalizers[1].normalize(windows.batch(index)[1])
    table = step_table(spec.schedule)
    bar = table.alpha_bar[table.steps - 1 - timestep].float()[:, None, None]
    target = {"epsilon": noise, "sample": clean, "v_prediction": bar.sqrt() * noise - (1 - bar).sqrt() * clean}
    seen = []

    @staged
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
    ("make", "message"),
    [
        (lambda: DiffusionConfig(beta_schedule="linear", beta_end=2.0), "0 < beta_start ≤ beta_end < 1"),
        (lambda: DiffusionConfig(beta_schedule="linear", beta_start=0.0), "0 < beta_start"),
        (lambda: DiffusionConfig(beta_start=1e-3), "beta_start is a setting of a beta_schedule such as linear, which"),
        (
            lambda: DiffusionConfig("flow_prediction"),
            "prediction_type must be one of epsilon, sample, v_prediction, not 'fl",
        ),
        (lambda: TransformerConfig(embedding=7), "embedding must be"),
        (lambda: TrainingConfig(batch_size=0), "batch_size must be from 1 to 1000000, not 0"),
        (lambda: TrainingConfig(batch_size=2.5), "batch_size must be a whole number from 1 to 1000000, not 2.5"),
        (lambda: TrainingConfig(learning_rate=0.0), "learning_rate must be more than 0"),
        (lambda: TrainingConfig(predict=14), "3 levels needs a horizon divisible by 4, and predict is 14"),
        (lambda: TrainingConfig(execute=16), "execute steps that are not predicted"),
        (lambda: TrainingConfig(observe=0), "observe must be from 1 to 128, not 0"),
        (lambda: TrainingConfig(network="unet"), "network must be one of UnetConfig, TransformerConfig, not 'unet'"),
    ],
)
def test_what_cannot_be_trained_is_refused(make, message):
    with pytest.raises(SettingError, match=message):
        make()


def test_observations_are_scaled_as_asked_for_in_training_and_in_plans(demonstrations, tmp_path):
    """`constant` has the standard deviation 0: it maps to 0, not to infinity."""
    config = dataclasses.replace(CONFIG, steps=3, validation_every=6, observation_scaling="mean-std")
    trained = train(demonstrations, config, tmp_path / "run", lambda t, path: save_checkpoint(t, path, "card"))
    windows, _ = cut_windows(demonstrations, trained.spec.horizons, 6)
    position = windows.observations["position"]
    mean, deviation = position.mean(0), position.std(0, correction=0).max()
    assert all(math.isfinite(line["train_loss"]) for line in logged(tmp_path / "run"))
    # Actions keep the limits that samples are clipped to.
    assert trained.action_normalizer.normalize(windows.actions).abs().max() == pytest.approx(1, abs=1e-5)

    policy = load_policy(tmp_path / "run/checkpoint", "ddim-3", engine="eager")
    histories = {key: values[None, :2] for key, values in demonstrations.observations().items()}
    seen = policy.condition(histories).unflatten(1, (2, 3))[0]
    expected = (torch.from_numpy(histories["position"][0]) - mean) / deviation
    assert torch.allclose(seen[:, :2], expected, atol=1e-5) and torch.allclose(seen[:, 2], torch.zeros(2), atol=1e-6)
    assert np.isfinite(policy.plan(histories, [torch.Generator().manual_seed(0)]).actions).all()


def test_a_training_is_not_continued_with_another_scaling(demonstrations, tmp_path):
    spread = dataclasses.replace(CONFIG, steps=2, observation_scaling="mean-std")
    train(demonstrations, spread, tmp_path / "run", ignore)
    with pytest.raises(SettingError, match=r"\(observation_scaling: mean-std there, min-max here\)"):
        train(demonstrations, dataclasses.replace(CONFIG, steps=2), tmp_path / "run", ignore)


def test_a_policy_to_start_from_brings_its_own_scaling(demonstrations, trained, tmp_path):
    config = dataclasses.replace(CONFIG, network=trained.spec.network, steps=1)
    train(demonstrations, config, tmp_path / "run", ignore, init=trained)
    with pytest.raises(SettingError, match="observation_scaling must be left out"):
        other = dataclasses.replace(config, observation_scaling="mean-std")
        train(demonstrations, other, tmp_path / "other", ignore, init=trained)


def test_a_policy_has_the_horizons_of_its_training(demonstrations, tmp_path):
    config = dataclasses.replace(CONFIG, steps=1, observe=3, predict=8, execute=2)
    trained = train(demonstrations, config, tmp_path / "run", lambda t, path: save_checkpoint(t, path, "card"))
    policy = load_policy(tmp_path / "run/checkpoint", "ddim-3", engine="eager")
    assert policy.spec.horizons == trained.spec.horizons == Horizons(3, 8, 2)
    histories = {key: values[None, :3] for key, values in demonstrations.observations().items()}
    # A plan begins with the action for the last observation.
    assert policy.plan(histories, [torch.Generator().manual_seed(0)]).actions.shape[:2] == (1, 8 - 3 + 1)
    with pytest.raises(SettingError, match=r"\(observe: 3 there, 2 here\)"):
        train(demonstrations, dataclasses.replace(config, observe=2), tmp_path / "run", ignore)


def test_a_policy_to_start_from_may_only_execute_another_number_of_steps(demonstrations, trained, tmp_path):
    config = dataclasses.replace(CONFIG, network=trained.spec.network, steps=1)
    fewer = train(demonstrations, dataclasses.replace(config, execute=4), tmp_path / "run", ignore, init=trained)
    assert fewer.spec.horizons == dataclasses.replace(trained.spec.horizons, execute=4)
    for name, value in (("observe", 1), ("predict", 24)):
        with pytest.raises(ValueError, match=rf"horizons\.{name}: \d+ in the policy, {value} in the settings"):
            train(demonstrations, dataclasses.replace(config, **{name: value}), tmp_path / name, ignore, init=trained)


def test_a_schedule_that_does_not_end_in_noise_is_refused_before_anything_is_written(demonstrations, tmp_path):
    config = dataclasses.replace(CONFIG, process=DiffusionConfig("epsilon", "linear", 1e-4, 0.02))
    with pytest.raises(SettingError, match=r"ends with ᾱ = 0\.36 and not near 0"):
        train(demonstrations, config, tmp_path / "run", ignore)
    assert not (tmp_path / "run").exists()


class InMemory:
    """Episodes in memory, without files."""

    def __init__(self, demonstrations):
        self.path, self.info, self.episode_ends = "memory", demonstrations.info, demonstrations.episode_ends
        self._observations, self._actions = demonstrations.observations(), demonstrations.actions()

    def observations(self):
        return self._observations

    def actions(self):
        return self._actions

    def digest(self):
        return "of these"


def test_anything_with_episodes_is_learned_from(demonstrations, tmp_path):
    """The result is the same bit by bit for any source of the numbers; a run continues only with its own data."""
    dataset = InMemory(demonstrations)
    trained, again = (train(data, CONFIG, tmp_path / out, ignore) for data, out in ((demonstrations, "a"), (dataset, "b")))
    assert trained.spec == again.spec and logged(tmp_path / "a") == logged(tmp_path / "b")
    for name, tensor in trained.network.state_dict().items():
        assert torch.equal(again.network.state_dict()[name], tensor)
    with pytest.raises(ValueError, match="data: "):
        train(dataset, CONFIG, tmp_path / "a", ignore)


LEARNING = (
    "{'steps': 20000, 'batch_size': 256, 'learning_rate': 0.001, 'warmup_steps': 500, 'weight_decay': 1e-06, 'bf16': None, "
    "'validation_every': 50, 'log_every': 100, 'save_every': 1000, 'seed': 0, "
)


@pytest.mark.parametrize(
    ("parts", "noted"),
    [
        (
            {},
            "'network': 'unet', 'channels': (64, 128, 256), 'prediction_type': 'epsilon', "
            "'beta_schedule': 'squaredcos_cap_v2'}",
        ),
        (
            {"network": TransformerConfig(), "process": FlowConfig()},
            "'network': 'transformer', 'layers': 8, 'embedding': 256, 'prediction_type': 'flow_prediction'}",
        ),
        (
            {"network": TransformerConfig(heads=8), "process": DiffusionConfig("sample", "linear", beta_end=0.3)},
            "'network': 'transformer', 'layers': 8, 'heads': 8, 'embedding': 256, 'prediction_type': 'sample', "
            "'beta_schedule': 'linear', 'beta_start': 0.001, 'beta_end': 0.3}",
        ),
    ],
)
def test_a_training_is_known_by_the_settings_that_states_on_disk_have(parts, noted):
    """Names, values and order, because earlier states must be continued, in directories named by their digest."""
    assert repr(TrainingConfig(**parts).settings()) == LEARNING + noted


def test_settings_of_a_training_have_different_names():
    """Otherwise one would hide another, in a state and on the command line. Only one kind of a part exists at a time."""
    names = []
    for declared in setting_fields(TrainingConfig):
        names += {declared.name, *(inner.name for kind in kinds_of(declared) for inner in setting_fields(kind))}
    assert {"steps", "network", "channels", "layers", "beta_end"} < set(names) and len(names) == len(set(names))


@dataclasses.dataclass(frozen=True)
class MixerConfig(NetworkConfig):
    """A network with only these settings."""

    kind: Literal["mixer"] = "mixer"
    width: int = setting(16, Limits(1, 99))

    def describe(self):
        return f"mixer of width {self.width}"

    def build(self, spec):
        return ConditionalUnet1D(spec.action_size, spec.condition_size, UnetConfig(channels=(self.width,)))


def test_a_network_is_trained_by_its_settings_which_build_it(demonstrations, tmp_path, monkeypatch):
    monkeypatch.setitem(NETWORKS, "mixer", MixerConfig)
    config = TrainingConfig(steps=2, batch_size=8, warmup_steps=1, bf16=False, network=MixerConfig(width=24))
    assert {"network": "mixer", "width": 24}.items() <= config.settings().items()
    assert train(demonstrations, config, tmp_path / "run", ignore).network.head[1].in_channels == 24
    with pytest.raises(ValueError, match=r"\(width: 24 there, 32 here\)"):
        train(demonstrations, dataclasses.replace(config, network=MixerConfig(width=32)), tmp_path / "run", ignore)
    with pytest.raises(SettingError, match="width must be from 1 to 99, not 100"):
        MixerConfig(width=100)


def test_a_loss_that_is_not_finite_ends_the_training(demonstrations, tmp_path, monkeypatch):
    whole = training.DenoisingObjective.draw

    def spoilt(objective, windows, size, generator):
        index, timestep, noise = whole(objective, windows, size, generator)
        return index, timestep, noise * (math.nan if generator.initial_seed() == 3 else 1)

    monkeypatch.setattr(training.DenoisingObjective, "draw", spoilt)
    with pytest.raises(ValueError, match="the loss of step 4 is nan"):
        train(demonstrations, CONFIG, tmp_path / "run", ignore)


def test_a_flow_is_not_trained_at_shifted_timesteps():
    with pytest.raises(ValueError, match=r"a flow is trained at whole timesteps, so that shift must be 1, not 3\.0"):
        process_of(FlowConfig().schedule | {"shift": 3.0})
