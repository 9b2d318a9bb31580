"""Image encoders: crops in training and in use, and images that they cannot encode."""

import dataclasses

import pytest
import torch

from paradp.checkpoints import load_trained, save_checkpoint
from paradp.policy import Normalizer, UnetConfig
from paradp.policy.data.normalizer import ObservationNormalizer
from paradp.policy.errors import SettingError
from paradp.policy.features import observed_features
from paradp.policy.learning.training import TrainedPolicy
from paradp.policy.networks.building import build_network
from paradp.policy.networks.vision import encoder as encoders
from paradp.policy.networks.vision.config import PixelsConfig, VisionConfig
from paradp.policy.networks.vision.encoder import VisionEncoder

TINY = VisionConfig(stem=16, keypoints=3, crop=(32, 36))
CAMERAS = observed_features({"front": (40, 40, 3), "wrist": (40, 40, 3), "position": 2})


def addressed(images: int, height: int, width: int) -> torch.Tensor:
    """Images whose channels contain the indices of image, row and column."""
    image, row, column = torch.meshgrid(torch.arange(images), torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([image, row, column], -1).float()


def chi_square(counts: torch.Tensor) -> float:
    """The statistic for counts that should be equal, in standard deviations from its expectation."""
    expected = counts.sum() / len(counts)
    freedom = len(counts) - 1
    return float(((counts - expected).square().sum() / expected - freedom) / (2 * freedom) ** 0.5)


def counted(places: torch.Tensor, most: int) -> torch.Tensor:
    return torch.bincount(places, minlength=most + 1).float()


def test_a_crop_contains_the_pixels_at_its_place():
    images, places = addressed(50, 40, 44), torch.stack([torch.arange(50) % 9, torch.arange(50) % 5], 1)
    found = encoders._cropped(images, places, 32, 40)
    assert found.shape == (50, 32, 40, 3)
    for i, (top, left) in enumerate(places.tolist()):
        assert torch.equal(found[i], images[i, top : top + 32, left : left + 40])


def test_places_of_crops_are_uniform_and_never_outside():
    """Strict: with 40 000 draws the test detects a place that is drawn 10 % too rarely, as the next test shows."""
    places = VisionEncoder(TINY, CAMERAS).draw_places(40_000, torch.Generator().manual_seed(0))
    assert places.shape == (40_000, 2, 2) and places.dtype == torch.int64
    for camera in range(2):
        rows, columns = places[:, camera].unbind(1)
        assert (rows.min(), rows.max(), columns.min(), columns.max()) == (0, 8, 0, 4)
        assert abs(chi_square(counted(rows, 8))) < 4 and abs(chi_square(counted(columns, 4))) < 4
        assert abs(chi_square(counted(5 * rows + columns, 44))) < 4  # together, too
    # Each camera is cropped by itself.
    assert abs(chi_square(counted(9 * places[:, 0, 0] + places[:, 1, 0], 80))) < 4


@pytest.mark.parametrize("fault", ["last left out", "middle preferred", "rows and columns alike"])
def test_the_test_of_uniform_places_detects_a_fault(fault):
    rows = torch.randint(9, (40_000,), generator=torch.Generator().manual_seed(0))
    columns = torch.randint(5, (40_000,), generator=torch.Generator().manual_seed(1))
    if fault == "last left out":
        rows = rows.clamp(max=7)
    elif fault == "middle preferred":
        rows = torch.where(torch.arange(40_000) % 40 == 0, 4, rows)
    else:
        columns = rows % 5
    assert chi_square(counted(5 * rows + columns, 44)) > 4 or chi_square(counted(rows, 8)) > 4


def test_outside_of_training_images_are_cropped_at_the_centre():
    torch.manual_seed(0)
    encoder = VisionEncoder(TINY, CAMERAS)
    seen = {key: torch.rand(2, 2, 40, 40, 3) for key in ("front", "wrist")} | {"position": torch.rand(2, 2, 2)}
    middle = torch.tensor([4, 2]).expand(2, 2, 2)
    for mode in (encoder.train(), encoder.eval()):
        found, expected = mode(seen), mode(seen, middle)
        assert list(found) == list(seen) and torch.equal(found["position"], seen["position"])
        assert all(torch.allclose(found[key], expected[key], atol=1e-5) for key in seen)  # convolved in another order
    elsewhere = encoder(seen, torch.zeros(2, 2, 2, dtype=torch.int64))
    assert not torch.allclose(elsewhere["front"], found["front"], atol=1e-3)


def test_all_observed_steps_of_a_window_have_the_same_crop():
    """A static scene gives constant features for any crop, and each camera has its own position of the crop."""
    torch.manual_seed(0)
    encoder = VisionEncoder(TINY, CAMERAS)
    still = {key: torch.rand(5, 1, 40, 40, 3).expand(5, 2, 40, 40, 3) for key in ("front", "wrist")}
    places = encoder.draw_places(5, torch.Generator().manual_seed(0))
    found = encoder(still, places)
    assert all(torch.allclose(values[:, 0], values[:, 1], atol=1e-6) for values in found.values())
    other = places.clone()
    other[:, 1] = 0
    again = encoder(still, other)
    assert torch.equal(again["front"], found["front"]) and not torch.equal(again["wrist"], found["wrist"])


@pytest.mark.parametrize("resize", [None, (36, 48)])
def test_the_full_size_gives_no_crop_and_the_help_says_so(resize):
    """In training, too: there is only one place. `None` means the default in all options, here nine tenths."""
    full = resize or (40, 40)
    config = VisionConfig(stem=16, keypoints=3, resize=resize, crop=full).fitted(CAMERAS)
    assert config.crop == config.seen((40, 40)) == full
    torch.manual_seed(0)
    encoder = VisionEncoder(config, CAMERAS).eval()
    whole = VisionEncoder(dataclasses.replace(config, crop=None), CAMERAS).eval()
    whole.load_state_dict(encoder.state_dict())
    places = encoder.draw_places(50, torch.Generator().manual_seed(0))
    seen = {key: torch.rand(50, 1, *feature.shape) for key, feature in CAMERAS.items()}
    assert not places.any()
    assert all(torch.allclose(encoder(seen, places)[key], whole(seen)[key], atol=1e-5) for key in seen)
    assert "give the full image size for no crop" in " ".join(VisionConfig.__doc__.split())


def test_images_are_resized_before_they_are_cropped():
    torch.manual_seed(0)
    encoder = VisionEncoder(dataclasses.replace(TINY, resize=(36, 40)), CAMERAS)
    assert encoder.draw_places(500, torch.Generator().manual_seed(0)).amax((0, 1)).tolist() == [4, 4]
    assert encoder({key: torch.rand(2, 2, 40, 40, 3) for key in ("front", "wrist")})["front"].shape == (2, 2, 6)


@pytest.mark.parametrize("stem", [16, 32, 64])
@pytest.mark.parametrize("separate", [True, False])
def test_an_encoder_of_any_width_is_saved_and_loaded(spec, tmp_path, stem, separate):
    """A round trip of a whole checkpoint, bit by bit; half the stem has a quarter of the weights."""
    torch.manual_seed(0)
    vision = dataclasses.replace(TINY, stem=stem, separate=separate)
    seeing = dataclasses.replace(
        spec, observation={"front": (40, 40, 3), "wrist": (40, 40, 3), "position": 2}, vision=vision
    )
    network = build_network(seeing).eval()
    normalizer = ObservationNormalizer.fit(
        {"front": torch.zeros(1, 40, 40, 3), "wrist": torch.zeros(1, 40, 40, 3), "position": torch.rand(9, 2)},
        seeing.observed,
    )
    actions = Normalizer(torch.zeros(seeing.action_size), torch.ones(seeing.action_size))
    save_checkpoint(TrainedPolicy(seeing, network, normalizer, actions), tmp_path / "checkpoint", "# card")
    again = load_trained(tmp_path / "checkpoint")
    assert again.spec == seeing
    seen = {key: torch.randint(256, (2, 2, 40, 40, 3), dtype=torch.uint8) for key in ("front", "wrist")}
    seen["position"] = torch.rand(2, 2, 2)
    conditions = [one.encode_observation(normalizer.normalize(seen)) for one in (network, again.network.eval())]
    assert torch.equal(*conditions) and conditions[0].shape == (2, seeing.condition_size)
    weights = sum(p.numel() for p in network.vision.encoders[0].backbone.parameters())
    assert 0.9 < weights / (11.18e6 * (stem / 64) ** 2) < 1.1


def test_the_slim_encoder_and_its_network_are_small(spec):
    """Below 10 MB in half precision, in which checkpoints are stored: one stem of 32 with a small U-Net, or two of 16."""
    for observation, vision, channels in (
        ({"image": (96, 96, 3), "agent_pos": 2}, VisionConfig(crop=(86, 86)), (32, 64, 128)),
        ({"agent": (84, 84, 3), "wrist": (84, 84, 3), "pose": 11}, VisionConfig(stem=16, crop=(76, 76)), (48, 96, 192)),
    ):
        one = dataclasses.replace(spec, observation=observation, vision=vision, network=UnetConfig(channels=channels))
        with torch.device("meta"):
            assert 2 * sum(p.numel() for p in build_network(one).parameters()) < 10e6


def test_images_are_uint8_and_are_scaled_from_their_range():
    normalizer = ObservationNormalizer.fit({"front": torch.zeros(1, 40, 40, 3)}, observed_features({"front": (40, 40, 3)}))
    bytes_ = torch.tensor([0, 255], dtype=torch.uint8).reshape(2, 1, 1, 1, 1).expand(2, 1, 40, 40, 3)
    found = normalizer.normalize({"front": bytes_})["front"]
    assert found.dtype == torch.float32 and found[:, 0, 0, 0, 0].tolist() == [-1.0, 1.0]


def test_a_training_crops_to_nine_tenths_by_default():
    for size, kept in {84: 76, 96: 86, 240: 216}.items():
        assert VisionConfig().fitted(observed_features({"front": (size, size, 3)})).crop == (kept, kept)
    assert VisionConfig(resize=(100, 50)).fitted(CAMERAS).crop == (90, 45)
    assert VisionConfig(crop=(40, 40)).fitted(CAMERAS).crop == (40, 40)
    assert VisionConfig().fitted(observed_features({"position": 2})) is None
    assert PixelsConfig().fitted(CAMERAS) is None


@pytest.mark.parametrize(
    ("config", "observation", "sentence"),
    [
        (VisionConfig(stem=16), {"position": 2}, "stem must be left out: the demonstrations have no images"),
        (
            VisionConfig(crop=(41, 30)),
            {"a": (40, 40, 3)},
            "crop: a crop of 41 × 30 pixels does not fit into images of 40 × 40",
        ),
        (VisionConfig(), {"a": (40, 40, 1)}, "vision: a ResNet sees images of 3 channels, and 'a' has 1"),
        (
            VisionConfig(),
            {"a": (40, 40, 3), "b": (40, 48, 3)},
            r"crop must be given: the cameras have images of several sizes, \[\(40, 40\), \(40, 48\)\]",
        ),
        (
            VisionConfig(separate=False, crop=(32, 32)),
            {"a": (40, 40, 3), "b": (40, 48, 3)},
            "cameras that share an encoder must have images of one size",
        ),
    ],
)
def test_an_error_names_images_that_cannot_be_encoded(spec, config, observation, sentence):
    with pytest.raises(ValueError, match=sentence):
        dataclasses.replace(spec, observation=observation, vision=config.fitted(observed_features(observation)))


@pytest.mark.parametrize("stem", [8, 24, 40, 272])
def test_a_stem_must_consist_of_whole_groups(stem):
    with pytest.raises(SettingError, match=r"^stem must be "):
        VisionConfig(stem=stem)
