"""Images and vectors as features: types, scaling, storage, requests and messages."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from vectors import joined

from paradp.policy import PolicySpec, RecedingHorizon
from paradp.policy.data.demonstrations import Demonstrations
from paradp.policy.data.episode import DemonstrationEpisode
from paradp.policy.data.normalizer import ObservationNormalizer, statistics_size
from paradp.policy.data.windows import cut_windows
from paradp.policy.features import Feature
from paradp.policy.networks.building import build_network
from paradp.policy.observations import how_many, read_observation, repeated, stack, take
from paradp.policy.serving.answers import greeting, read_interface
from paradp.policy.serving.sessions import Session
from paradp.policy.serving.wire import pack

OBSERVED = {"camera": (4, 5, 3), "position": 2}


@pytest.fixture
def seeing(spec) -> PolicySpec:
    """The specification of a policy that observes an image and a vector."""
    return replace(spec, observation=OBSERVED)


def seen(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {"camera": rng.integers(0, 256, (4, 5, 3), np.uint8), "position": rng.normal(size=2).astype(np.float32)}


def test_features_have_a_kind_and_a_shape(seeing):
    assert seeing.features == {
        "camera": Feature("image", (4, 5, 3)),
        "position": Feature("state", (2,)),
        "step": Feature("action", (2,)),
    }
    assert (seeing.observation_size, seeing.condition_size, statistics_size(seeing.observed)) == (62, 124, 5)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((4, 5), "'camera' must have a length, or height, width and channels; it has \\[4, 5\\]"),
        ((4, 0, 3), "the width of 'camera' must be from 1"),
        ((4096, 4096, 3), "the size of 'camera' must be from 1"),
        ((128, 128, 3), "at most 16384 of them a step; these observations have 49154"),
    ],
)
def test_shapes_that_are_not_images_are_refused(spec, shape, message):
    with pytest.raises(ValueError, match=message):
        replace(spec, observation=OBSERVED | {"camera": shape})


def test_an_observation_is_read_feature_by_feature(seeing):
    given = seen()
    read = read_observation(seeing, {"extra": np.zeros(9)} | dict(reversed(given.items())))
    assert list(read) == ["camera", "position"] and all(np.array_equal(read[key], given[key]) for key in read)
    given["camera"][:] = 0
    assert read["camera"].any()
    for value, message in (
        (np.zeros((4, 5, 3)), "'camera' is an image and must be of dtype uint8, not float64"),
        (np.zeros((5, 4, 3), np.uint8), r"'camera' has shape \(5, 4, 3\), the policy was trained with \(4, 5, 3\)"),
        ("a picture", "'camera' is an image and must be of dtype uint8, not <U9"),
        ([[1, 2], [3]], "'camera' is an image and must be an array, not a list"),
        (torch.zeros(4, 5, 3, requires_grad=True), "'camera' is an image and must be an array, not a Tensor"),
    ):
        with pytest.raises(ValueError, match=message):
            read_observation(seeing, seen() | {"camera": value})


def test_many_observations_are_stacked_taken_and_repeated():
    many = stack([seen(i) for i in range(3)])
    assert how_many(many) == 3 and np.array_equal(take(many, 1)["camera"], seen(1)["camera"])
    assert np.array_equal(take(many, slice(1, None))["position"], many["position"][1:])
    twice = repeated(many, 2)
    assert how_many(twice) == 6 and np.array_equal(twice["camera"][::2], twice["camera"][1::2])


def test_every_scaling_follows_its_definition(seeing):
    rng = torch.Generator().manual_seed(0)
    camera = torch.randint(0, 200, (50, 4, 5, 3), generator=rng).to(torch.uint8)
    position = torch.randn(50, 2, generator=rng) * torch.tensor([1.0, 3.0]) + 5
    data = {"camera": camera, "position": position}

    def scaled(scaling):
        return ObservationNormalizer.fit(data, seeing.observed, dict.fromkeys(data, scaling)).normalize(data)

    limits = scaled("min-max")
    # An image is scaled from what it may hold, not from what it held.
    assert limits["camera"].min() == -1 and limits["camera"].max() < 0.6
    assert limits["position"][:, 1].amin() == pytest.approx(-1) and limits["position"].abs().max() == pytest.approx(1)
    spread = scaled("mean-std")
    assert torch.allclose(spread["camera"].mean((0, 1, 2)), torch.zeros(3), atol=1e-5)
    assert spread["camera"].std((0, 1, 2), correction=0).max() == pytest.approx(1, abs=1e-5)
    assert spread["position"].std(0, correction=0)[1] == pytest.approx(1, abs=1e-5)
    assert spread["position"].std(0, correction=0)[0] < 0.5  # the quantity shares the scale of its widest dimension
    same = scaled("identity")
    assert torch.equal(same["camera"], camera.float()) and torch.equal(same["position"], position)


def test_a_normaliser_is_made_from_its_numbers(seeing):
    offset, scale = torch.arange(5.0), torch.arange(1.0, 6.0)
    normalizer = ObservationNormalizer.of(seeing.observed, offset, scale)
    assert torch.equal(normalizer.offset, offset) and torch.equal(normalizer.scale, scale)
    out = normalizer.normalize({"position": torch.tensor([3.0, 4.0]), "camera": torch.zeros(4, 5, 3)})
    assert list(out) == ["camera", "position"] and torch.equal(out["position"], torch.zeros(2))
    assert torch.equal(out["camera"][0, 0], -offset[:3] / scale[:3])


def test_images_are_stored_and_cut_into_windows(tmp_path, info, seeing):
    info = replace(info, observation=OBSERVED)
    there = Demonstrations.open_or_create(tmp_path / "d.zarr", info)
    for seed in range(3):
        steps = stack([seen(10 * seed + i) for i in range(5)])
        there.append(DemonstrationEpisode(steps, np.zeros((5, 2)), np.zeros((5, 2)), seed))
    again = Demonstrations.open(tmp_path / "d.zarr")
    assert again.info == info and again.observations()["camera"].dtype == np.uint8
    assert np.array_equal(again.observations()["camera"][5:10], stack([seen(10 + i) for i in range(5)])["camera"])
    windows, _ = cut_windows(again, seeing.horizons, 2)
    observed, _ = windows.batch(torch.tensor([0, 3]))
    assert observed["camera"].shape == (2, 2, 4, 5, 3) and observed["camera"].dtype == torch.uint8
    # The first window repeats the first step; the fourth sees the third and fourth.
    assert torch.equal(observed["camera"][0, 0], observed["camera"][0, 1])
    assert np.array_equal(observed["camera"][1], stack([seen(2), seen(3)])["camera"])
    changed = again.digest()
    there.append(DemonstrationEpisode(stack([seen(99)] * 5), np.zeros((5, 2)), np.zeros((5, 2)), 3))
    assert Demonstrations.open(tmp_path / "d.zarr").digest() != changed


def test_the_digest_depends_on_the_content_of_images(tmp_path, info):
    digests = set()
    for i, value in enumerate((0, 1)):
        there = Demonstrations.open_or_create(tmp_path / f"{i}.zarr", replace(info, observation=OBSERVED))
        steps = stack([seen(i) for i in range(5)])
        steps["camera"][3, 0, 0, 0] = value
        there.append(DemonstrationEpisode(steps, np.zeros((5, 2)), np.zeros((5, 2)), 0))
        digests.add(there.digest())
    assert len(digests) == 2


def test_observed_steps_are_concatenated_in_order(seeing):
    network = build_network(seeing)
    observed = {"camera": torch.rand(2, 2, 4, 5, 3), "position": torch.rand(2, 2, 2)}
    condition = network.encode_observation(observed)
    assert condition.shape == (2, seeing.condition_size)
    step = condition.unflatten(1, (2, 62))
    assert torch.equal(step[..., :60], observed["camera"].flatten(2)) and torch.equal(step[..., 60:], observed["position"])


def test_a_client_reads_the_announcement_of_images_and_sends_them(seeing):
    told = greeting(seeing, "ddim-5", 2**20)
    camera = told["observation"]["camera"]
    assert camera | {"shape": [2, 4, 5, 3], "dtype": "uint8"} == camera and camera["layout"] == "height, width, channels"
    assert read_interface(told).observation == OBSERVED
    session = Session(seeing)
    whole = stack([seen(0), seen(1)])
    request = session.read(pack(whole))
    assert np.array_equal(request.history["camera"], whole["camera"])
    session.remember(request)
    following = session.read(pack(seen(2))).history
    assert np.array_equal(following["camera"], stack([seen(1), seen(2)])["camera"])
    for camera, message in (
        (whole["camera"].astype(np.float32), "'camera' is an image and must be of dtype uint8, not float32"),
        (whole["camera"][:, :3], r"'camera' has shape \(2, 3, 5, 3\); it is \(2, 4, 5, 3\), or \(4, 5, 3\) in every"),
        (whole["camera"][0], "some observations are of one step, others of 2: camera, position"),
    ):
        with pytest.raises(ValueError, match=message):
            session.read(pack(whole | {"camera": camera}))
    with pytest.raises(ValueError, match="metadata is not that of a paradp policy"):
        read_interface(told | {"observation": {"camera": {"shape": [2, 4, 5], "dtype": "uint8"}}})


def test_a_controller_keeps_images_in_its_history(seeing, trained):
    controller = RecedingHorizon(_Plans(seeing))
    for i in range(3):
        controller.observe(seen(i))
    assert np.array_equal(joined({"p": controller.robot.history["position"]}), stack([seen(1), seen(2)])["position"])
    assert np.array_equal(controller.robot.history["camera"], stack([seen(1), seen(2)])["camera"])


class _Plans:
    """A policy whose plans are not used."""

    def __init__(self, spec):
        self.spec = spec
