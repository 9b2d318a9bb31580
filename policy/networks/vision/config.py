"""The settings of an image encoder."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from paradp.policy.errors import SettingError
from paradp.policy.features import Feature
from paradp.policy.files.limits import MOST_CHANNELS, MOST_EDGE, MOST_STEM
from paradp.policy.settings import Limits, Settings, setting

Backbone = Literal["resnet18", "resnet34", "resnet50"]
_PIXELS = Limits(1, MOST_EDGE)


# Channels per group of the group normalisation.
GROUP_CHANNELS = 16
_KEPT = 0.9  # share of an image's height and width that the crop of a training keeps by default


@dataclass(frozen=True)
class PixelsConfig(Settings):
    """No image encoder: the network's inputs are the pixels. It has no settings."""

    kind: Literal["pixels"] = "pixels"

    def fitted(self, observed: Mapping[str, Feature]) -> None:
        """Like `VisionConfig.fitted`: returns `None`, as there is no encoder."""


@dataclass(frozen=True)
class VisionConfig(Settings):
    """Settings of a policy's image encoder, see `paradp.policy.networks.vision.encoder`.

    Attributes:
        kind: the type of encoder.
        backbone: the type of ResNet.
        stem: channels of its first convolution; the other layers have multiples of it. 64 are usual, fewer are faster; a
            policy for LeRobot needs 64.
        norm: its normalisation: `group` with 16 channels per group, or `batch`, which cannot be trained here.
        keypoints: number of keypoints per image; each gives two numbers.
        resize: height and width to which images are scaled; `None` leaves them as they are.
        crop: height and width of the crop after that: at a random position in training, in the middle in use. A training
            crops to nine tenths by default; give the full image size for no crop.
        separate: whether each camera has a separate encoder.
    """

    kind: Literal["resnet"] = "resnet"
    backbone: Backbone = setting("resnet18", later=True)
    stem: int = setting(32, Limits(GROUP_CHANNELS, MOST_STEM), later=True)
    norm: Literal["batch", "group"] = setting("group", option=False, later=True)
    keypoints: int = setting(32, Limits(1, MOST_CHANNELS), later=True)
    resize: tuple[int, int] | None = setting(None, _PIXELS, later=True)
    crop: tuple[int, int] | None = setting(None, _PIXELS, later=True, in_force="nine tenths")
    separate: bool = setting(True, later=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stem % GROUP_CHANNELS:
            raise SettingError(f"stem must be a multiple of {GROUP_CHANNELS}, not {self.stem}", "stem")

    def describe(self) -> str:
        """Describes the encoder in a few words."""
        cameras = "one for every camera" if self.separate else "one for all cameras"
        return f"{self.backbone.replace('resnet', 'ResNet-')}, stem {self.stem}, {self.keypoints} keypoints, {cameras}"

    @property
    def size(self) -> int:
        """The number of features of one image."""
        return 2 * self.keypoints

    def seen(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Height and width of the ResNet's input for images of this height and width.

        Raises:
            ValueError: the crop is larger than the image.
        """
        height, width = self.resize or shape[:2]
        crop = self.crop or (height, width)
        if crop[0] > height or crop[1] > width:
            said = f"a crop of {crop[0]} × {crop[1]} pixels does not fit into images of {height} × {width}"
            raise SettingError(f"crop: {said}", "crop")
        return crop

    def fitted(self, observed: Mapping[str, Feature]) -> "VisionConfig | None":
        """Returns the settings for a training on these features, with a crop; `None` if there are no images to encode.

        Raises:
            ValueError: it cannot encode these features.
        """
        sizes = {(self.resize or feature.shape[:2]) for feature in observed.values() if feature.kind == "image"}
        if not sizes:
            self._check_unused()
            return None
        if self.crop is not None:
            return self
        if len(sizes) > 1:
            raise SettingError(f"crop must be given: the cameras have images of several sizes, {sorted(sizes)}", "crop")
        height, width = sizes.pop()
        return replace(self, crop=(max(1, round(_KEPT * height)), max(1, round(_KEPT * width))))

    def _check_unused(self) -> None:
        """Raises:
        SettingError: a setting was given that has no effect.
        """
        if given := self.settings():
            name = next(iter(given))
            raise SettingError(f"{name} must be left out: the demonstrations have no images", name)

    def check(self, observed: Mapping[str, Feature]) -> None:
        """Checks that it can encode the images among the features of an observation.

        Raises:
            ValueError: there are none, one is not in colour or too small for the crop, or cameras that share an encoder
                differ in size.
        """
        images = {key: feature.shape for key, feature in observed.items() if feature.kind == "image"}
        if not images:
            raise ValueError("an image encoder needs images, and the observation has none")
        for key, shape in images.items():
            if shape[2] != 3:
                said = f"{key!r} has {shape[2]}: give the network its pixels with vision pixels, or record it in colour"
                raise SettingError(f"vision: a ResNet sees images of 3 channels, and {said}", "vision")
            self.seen(shape)
        if not self.separate and len(set(images.values())) > 1:
            raise ValueError(f"cameras that share an encoder must have images of one size; they have {images}")


# The alternatives for a network's input from images.
Vision = VisionConfig | PixelsConfig
