"""Trained drafts: their cost limit, what they learn, and that a draft of another checkpoint is refused."""

import itertools
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from vectors import parted

from paradp.checkpoints import (
    build_solver,
    checkpoint_digest,
    find_checkpoint,
    load_policy,
    pretrained,
    read_draft,
    read_info,
    save_checkpoint,
    write_draft,
)
from paradp.policy.learning import draft as draft_training
from paradp.policy.learning.draft import DraftTraining, train_draft
from paradp.policy.networks.draft import SHARE, DraftConfig, build_draft, draft_config, draft_cost, network_cost
from paradp.policy.observations import how_many
from paradp.policy.requests import PlanRequest, plan_together
from paradp.sampler import NoisePath, SamplerChoice, Speculative

TRAINED = "speculative-ddpm:window=20:draft=trained"
DONE = DraftTraining(plans=64, steps=1, seconds=1.0, rounds=7.0, rounds_before=8.0)


@pytest.fixture
def checkpoint(tmp_path, trained):
    path = tmp_path / "policy"
    save_checkpoint(trained, path, "# a card")
    return path


@pytest.fixture
def with_draft(checkpoint, spec):
    """A checkpoint with a draft of random weights."""
    torch.manual_seed(1)
    draft = build_draft(spec, draft_config(spec))
    torch.nn.init.normal_(draft.gain.weight, std=0.1)
    write_draft(draft, DONE, checkpoint, checkpoint_digest(checkpoint))
    return checkpoint


def plan(policy, count=2):
    histories = parted(policy.spec, np.random.default_rng(0).normal(size=(count, 2, 3)).astype(np.float32))
    return policy.plan(histories, [torch.Generator().manual_seed(i) for i in range(count)])


@pytest.mark.parametrize("name", pretrained())
def test_a_draft_costs_at_most_its_share_of_the_network(name):
    spec = read_info(find_checkpoint(name)).spec
    config = draft_config(spec)
    assert draft_cost(spec, config) <= SHARE * network_cost(spec)
    # Counted by hand: three layers, and into the rank and out of it.
    size, r, h = spec.horizons.predict * spec.action_size, config.rank, config.hidden
    assert draft_cost(spec, config) == (2 * size + 15) * h + h * h + h * r + 2 * size * r


def test_the_networks_cost_is_that_of_its_convolutions():
    spec = read_info(find_checkpoint("square")).spec
    network = load_policy("square", "ddpm", engine="eager").network
    counted = []

    def count(module, inputs, output):
        length = inputs[0].shape[-1] if isinstance(module, torch.nn.ConvTranspose1d) else output.shape[-1]
        counted.append(module.weight.numel() * length)

    for module in network.modules():
        if isinstance(module, torch.nn.Conv1d | torch.nn.ConvTranspose1d):
            module.register_forward_hook(count)
    network(torch.zeros(1, 16, 10), torch.zeros(1, dtype=torch.int64), torch.zeros(1, spec.condition_size))
    assert network_cost(spec) == sum(counted)


def test_a_draft_is_read_back_and_plans_in_the_same_number_of_rounds(with_draft, spec):
    policy = load_policy(with_draft, TRAINED, engine="eager")
    assert isinstance(policy.solver, Speculative) and policy.solver.model is not None
    stored = load_file(with_draft / "draft.safetensors")
    assert all(torch.equal(tensor, stored[name]) for name, tensor in policy.solver.model.state_dict().items())
    found = plan(policy)
    assert found.stats.converged.all() and np.isfinite(found.actions).all()
    assert not np.array_equal(found.actions, plan(load_policy(with_draft, "speculative-ddpm", engine="eager")).actions)


def test_without_a_previous_plan_the_draft_makes_the_first_guess(with_draft, monkeypatch):
    policy = load_policy(with_draft, TRAINED, engine="eager")
    given = []
    solve = Speculative.solve

    def watching(self, denoiser, condition, noise, guess=None, *rest):
        given.append(guess)
        return solve(self, denoiser, condition, noise, guess, *rest)

    monkeypatch.setattr(Speculative, "solve", watching)
    found = plan(policy)
    histories = parted(policy.spec, np.random.default_rng(0).normal(size=(2, 2, 3)).astype(np.float32))
    expected = policy.solver.model.first_guess(policy.condition(histories))
    assert torch.equal(given[0].flatten(1), expected)
    policy.plan(histories, [torch.Generator().manual_seed(i) for i in range(2)], found.chunks)
    assert torch.equal(given[1], found.chunks)

    # Of several robots, those with a previous plan keep its guess.
    rows = [{key: values[i] for key, values in histories.items()} for i in range(2)]
    plan_together(policy, [PlanRequest(rows[0], 0), PlanRequest(rows[1], 1, guess=found.chunks[1].numpy())])
    assert torch.equal(given[2].flatten(1)[0], expected[0]) and torch.equal(given[2][1], found.chunks[1])


def test_without_a_draft_the_error_says_how_to_train_one(checkpoint):
    for load in (lambda: load_policy(checkpoint, TRAINED), lambda: build_solver(SamplerChoice.parse(TRAINED), checkpoint)):
        with pytest.raises(ValueError, match=r"has no trained draft; train one: paradp draft train"):
            load()
    with pytest.raises(ValueError, match="paradp draft train"):
        SamplerChoice.parse(TRAINED).build(read_info(checkpoint).spec.schedule)


def test_a_draft_of_another_checkpoint_is_refused(with_draft, trained, tmp_path):
    with torch.no_grad():
        next(trained.network.parameters()).add_(1)
    other = tmp_path / "other"
    save_checkpoint(trained, other, "# a card")
    for name in ("draft.json", "draft.safetensors"):
        (other / name).write_bytes((with_draft / name).read_bytes())
    with pytest.raises(ValueError, match=r"draft\.json was trained for another checkpoint; train one"):
        load_policy(other, TRAINED)
    load_policy(other, "speculative-ddpm", engine="eager")


def test_saving_a_checkpoint_with_other_weights_leaves_no_old_draft(with_draft, trained):
    with torch.no_grad():
        next(trained.network.parameters()).add_(1)
    save_checkpoint(trained, with_draft, "# a card")
    assert not (with_draft / "draft.json").exists()


def _cut(path):
    (path / "draft.safetensors").write_bytes((path / "draft.safetensors").read_bytes()[:-8])


def _gone(path):
    (path / "draft.safetensors").unlink()


def _changed(**changes):
    def change(path):
        content = json.loads((path / "draft.json").read_text())
        (path / "draft.json").write_text(json.dumps(content | changes))

    return change


def _other_weights(changed):
    """New weights, with their digest noted."""

    def change(path):
        from paradp.policy.files.reading import sha256

        tensors = changed(load_file(path / "draft.safetensors"))
        save_file(tensors, path / "draft.safetensors")
        _changed(weights_sha256=sha256(path / "draft.safetensors", 2**30))(path)

    return change


BROKEN = {
    "cut short": (_cut, ValueError, "is not the file that draft.json was written with"),
    "without weights": (_gone, OSError, r"draft\.safetensors"),
    "no JSON": (lambda path: (path / "draft.json").write_text("{"), ValueError, r"draft\.json"),
    "an unknown key": (_changed(more=1), ValueError, "cannot be read"),
    "another size": (_changed(config={"rank": 4, "hidden": 8}), ValueError, "does not fit draft.json"),
    "a huge size": (_changed(config={"rank": 4000, "hidden": 4000}), ValueError, "does not fit draft.json"),
    "an impossible size": (_changed(config={"rank": 10**9, "hidden": 8}), ValueError, "rank must be from 1"),
    "not finite": (
        _other_weights(lambda tensors: tensors | {"into": torch.full_like(tensors["into"], torch.nan)}),
        ValueError,
        "not finite",
    ),
    "a tensor too many": (_other_weights(lambda tensors: tensors | {"x": torch.zeros(1)}), ValueError, "does not fit"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_draft_is_named(with_draft, kind):
    breaks, error, message = BROKEN[kind]
    breaks(with_draft)
    with pytest.raises(error, match=message):
        load_policy(with_draft, TRAINED)


def test_a_draft_that_costs_too_much_is_refused(checkpoint, spec):
    draft = build_draft(spec, DraftConfig(256, 256))
    write_draft(draft, DONE, checkpoint, checkpoint_digest(checkpoint))
    with pytest.raises(ValueError, match="computes more than 2%"):
        read_draft(checkpoint, spec, checkpoint_digest(checkpoint))


def test_first_predictions_are_kept_without_their_windows(checkpoint, spec, monkeypatch):
    """A view of the first prediction would keep the whole window in memory, once a turn."""
    monkeypatch.setattr(draft_training, "_FIRSTS", 2)
    policy = load_policy(checkpoint, "ddpm", engine="eager")
    histories = parted(policy.spec, np.random.default_rng(0).normal(size=(9, 2, 3)).astype(np.float32))
    draft = build_draft(spec, draft_config(spec))
    solver = SamplerChoice.parse(TRAINED).build(spec.schedule, draft)
    sampling = draft_training._Sampling(policy, histories, 0)
    for _ in range(3):
        sampling.rows(solver, draft)
    assert len(sampling._firsts) == 2
    assert all(clean.untyped_storage().nbytes() == clean.nbytes for _, clean in sampling._firsts)


def test_training_makes_drafts_that_are_accepted_more_often(checkpoint, spec, monkeypatch):
    """More often than before the training, even for a network with random weights."""
    policy = load_policy(checkpoint, "ddpm", engine="eager")
    histories = parted(policy.spec, np.random.default_rng(0).normal(size=(200, 2, 3)).astype(np.float32))
    seen, encoded = [], []
    condition_of = policy.condition
    monkeypatch.setattr(policy, "condition", lambda some: encoded.append(how_many(some)) or condition_of(some))
    ticks = itertools.count()
    draft, training = train_draft(
        policy, histories, 16.0, 0, lambda spent, note: seen.append(spent), clock=lambda: float(next(ticks))
    )
    assert seen == sorted(seen) and seen[-1] == 16.0 and training.plans == 8 * 64 and training.steps == 8 * 80
    assert encoded and max(encoded) == 64  # observations are encoded as they are planned from, not all at once
    condition = policy.condition(histories)  # all of them: rounds of 32 plans differ by chance as much as by training
    noise = NoisePath.draw([torch.Generator().manual_seed(10_000 + i) for i in range(200)], 100, (16, 2))
    guess = draft.first_guess(condition).unflatten(1, (16, 2))

    def rounds(name, model=None):
        solver = SamplerChoice.parse(f"speculative-ddpm:window=50:draft={name}").build(spec.schedule, model)
        return float(solver.solve(policy.engine, policy.engine.encode(condition), noise, guess).stats.rounds.double().mean())

    untrained = build_draft(spec, draft.config)
    assert rounds("trained", draft) < rounds("trained", untrained)
