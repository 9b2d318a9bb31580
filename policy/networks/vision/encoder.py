"""Encoders of images: resized, cropped, seen by a ResNet, and said in places (as in Diffusion Policy and LeRobot)."""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from paradp.policy.features import Feature
from paradp.policy.networks.vision.config import VisionConfig
from paradp.policy.networks.vision.resnet import map_shape, resnet


class VisionEncoder(nn.Module):
    """Replaces the images of an observation by what the policy's network sees of them.

    Cameras are encoded in the observation's order, each once a plan.

    Args:
        config: settings.
        observed: the features of an observation.

    Attributes:
        cameras: the images' names, in order.

    Raises:
        ValueError: the settings do not fit the images.
    """

    def __init__(self, config: VisionConfig, observed: Mapping[str, Feature]):
        super().__init__()
        config.check(observed)
        self.cameras = [key for key, feature in observed.items() if feature.kind == "image"]
        cameras = self.cameras if config.separate else self.cameras[:1]
        self.encoders = nn.ModuleList(ImageEncoder(config, *observed[key].shape[:2]) for key in cameras)

    def forward(self, observation: Mapping[str, Tensor], places: Tensor | None = None) -> dict[str, Tensor]:
        """Normalised observations, by feature `[n, To, *shape]` → the same, images as `[n, To, F]`.

        Args:
            observation: see above.
            places: `[n, cameras, 2]`, where the images are cropped, as `draw_places` has it; in the middle by default.
        """
        encoded = dict(observation)
        for i, (key, encoder) in enumerate(zip(self.cameras, self._each(), strict=True)):
            encoded[key] = encoder(observation[key], None if places is None else places[:, i])
        return encoded

    def draw_places(self, count: int, generator: torch.Generator) -> Tensor:
        """Random places of the crops of some windows, `[count, cameras, 2]`: rows above and columns left of each.

        All observed steps of a window are cropped alike, so that what moves between them is what moved.
        """
        spare = [size for encoder in self._each() for size in encoder.spare]
        drawn = [torch.randint(size + 1, (count,), generator=generator) for size in spare]
        return torch.stack(drawn, 1).unflatten(1, (-1, 2))

    def _each(self) -> "list[ImageEncoder]":
        """One for every camera."""
        encoders = cast("list[ImageEncoder]", list(self.encoders))
        return encoders if len(encoders) == len(self.cameras) else encoders * len(self.cameras)


class ImageEncoder(nn.Module):
    """From images to the places of keypoints in them, and from these to features.

    Args:
        config: settings.
        height, width: of the images.

    Attributes:
        spare: rows and columns of an image that a crop leaves out.
    """

    def __init__(self, config: VisionConfig, height: int, width: int):
        super().__init__()
        self._resize, self._crop = config.resize, config.seen((height, width))
        whole = config.resize or (height, width)
        self.spare = tuple(size - kept for size, kept in zip(whole, self._crop, strict=True))
        self.backbone = resnet(config)
        self.pool = SpatialSoftmax(*map_shape(config, *self._crop), config.keypoints)
        self.out = nn.Linear(config.size, config.size)

    def forward(self, images: Tensor, places: Tensor | None = None) -> Tensor:
        """Normalised images `[n, To, h, w, 3]`, and where they are cropped, `[n, 2]` → `[n, To, F]`."""
        n, observed = images.shape[:2]
        x = images.flatten(0, 1)
        if self._resize is not None:
            x = nn.functional.interpolate(x.movedim(3, 1), self._resize, mode="bilinear", antialias=True).movedim(1, 3)
        if places is None:
            x = self._middle(x).movedim(3, 1).contiguous()
        else:  # a view with the channels last, with which a CPU trains nearly twice as fast
            x = _cropped(x, places[:, None].expand(-1, observed, -1).flatten(0, 1), *self._crop).movedim(3, 1)
        maps = self.backbone(x)
        # Whatever a training computes in: to bfloat16 a place is known to a third of a pixel only.
        with torch.autocast(images.device.type, enabled=False):
            features = self.out(self.pool(maps.float()).flatten(1)).relu()
        return features.unflatten(0, (n, observed))

    def _middle(self, x: Tensor) -> Tensor:
        """Of images `[n, h, w, 3]`; what is odd goes as Python rounds it, to the even side."""
        (top, left), (height, width) = (round(size / 2) for size in self.spare), self._crop
        return x[:, top : top + height, left : left + width]


class SpatialSoftmax(nn.Module):
    """Where in each of some maps there is most: the mean place under a softmax over it (Finn et al. 2016, arXiv 1509.06113).

    Args:
        channels, height, width: of the maps that come in.
        keypoints: K, how many maps are made of them.
    """

    places: Tensor

    def __init__(self, channels: int, height: int, width: int, keypoints: int):
        super().__init__()
        self.maps = nn.Conv2d(channels, keypoints, 1)
        y, x = torch.meshgrid(_spread(height), _spread(width), indexing="ij")
        self.register_buffer("places", torch.stack([x.flatten(), y.flatten()], 1).float())

    def forward(self, x: Tensor) -> Tensor:
        """Maps `[n, C, h, w]` → x and y, each from −1 to 1, of every keypoint `[n, K, 2]`."""
        return self.maps(x).flatten(2).softmax(-1) @ self.places


def _spread(count: int) -> Tensor:
    """Numbers from −1 to 1; one alone is −1, as numpy has it."""
    return torch.linspace(-1, 1, count, dtype=torch.float64)


def _cropped(x: Tensor, places: Tensor, height: int, width: int) -> Tensor:
    """Of each of some images `[n, h, w, 3]` the part below and right of its place `[n, 2]`; waits for no device."""
    rows = places[:, :1] + torch.arange(height, device=x.device)
    columns = places[:, 1:] + torch.arange(width, device=x.device)
    image = torch.arange(len(x), device=x.device)
    return x[image[:, None, None], rows[:, :, None], columns[:, None, :]]
