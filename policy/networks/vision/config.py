"""The settings of an encoder of images."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from paradp.policy.features import Feature
from paradp.policy.files.limits import MOST_CHANNELS, MOST_EDGE
from paradp.policy.settings import Limits, Settings, setting

Backbone = Literal["resnet18", "resnet34", "resnet50"]
_PIXELS = Limits(1, MOST_EDGE)


@dataclass(frozen=True)
class VisionConfig(Settings):
    """How a policy's images become numbers, see `paradp.policy.networks.vision.encoder`.

    Attributes:
        backbone: which ResNet.
        norm: its normalisation: `batch`, or `group` with 16 channels a group.
        keypoints: places that it finds in an image; it says two numbers of each.
        resize: height and width that images are scaled to; `None` leaves them as they are.
        crop: height and width of the middle that is kept of that; `None` keeps all.
        separate: whether every camera has an encoder of its own.
    """

    backbone: Backbone = setting("resnet18")
    norm: Literal["batch", "group"] = setting("batch")
    keypoints: int = setting(32, Limits(1, MOST_CHANNELS))
    resize: tuple[int, int] | None = setting(None, _PIXELS)
    crop: tuple[int, int] | None = setting(None, _PIXELS)
    separate: bool = setting(True)

    @property
    def size(self) -> int:
        """Numbers that it makes of one image."""
        return 2 * self.keypoints

    def seen(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Height and width that the ResNet sees of an image of that height and width.

        Raises:
            ValueError: the crop is larger than the image.
        """
        height, width = self.resize or shape[:2]
        crop = self.crop or (height, width)
        if crop[0] > height or crop[1] > width:
            raise ValueError(f"a crop of {crop[0]} × {crop[1]} pixels does not fit into images of {height} × {width}")
        return crop

    def check(self, observed: Mapping[str, Feature]) -> None:
        """Checks that it can encode the images among the features of an observation.

        Raises:
            ValueError: there are none, one is not in colour or too small for the crop, or cameras that share an encoder
                differ in size.
        """
        images = {key: feature.shape for key, feature in observed.items() if feature.kind == "image"}
        if not images:
            raise ValueError("an encoder of images needs images, and the observation has none")
        for key, shape in images.items():
            if shape[2] != 3:
                raise ValueError(f"{key!r} must have 3 channels, not {shape[2]}: a ResNet sees colours")
            self.seen(shape)
        if not self.separate and len(set(images.values())) > 1:
            raise ValueError(f"cameras that share an encoder must have images of one size; they have {images}")
