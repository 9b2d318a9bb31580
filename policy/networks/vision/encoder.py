"""Image encoders: resize, crop, ResNet, spatial softmax (as in Diffusion Policy and LeRobot)."""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from paradp.policy.features import Feature
from paradp.policy.networks.vision.config import VisionConfig
from paradp.policy.networks.vision.resnet import map_shape, resnet


class VisionEncoder(nn.Module):
    """Replaces the images of an observation by their features.

    Cameras are encoded in the observation's order, each once per plan.

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
        """Converts normalised observations, by feature `[n, To, *shape]`: images become `[n, To, F]`.

        Args:
            observation: see above.
            places: `[n, cameras, 2]`, positions of the crops as from `draw_places`; in the middle by default.
        """
        encoded = dict(observation)
        for i, (key, encoder) in enumerate(zip(self.cameras, self._each(), strict=True)):
            encoded[key] = encoder(observation[key], None if places is None else places[:, i])
        return encoded

    def draw_places(self, count: int, generator: torch.Generator) -> Tensor:
        """Draws random positions of crops, `[count, cameras, 2]`: numbers of rows above and columns left of each.

        All observed steps of a window have the same crop, so that differences between them are real motion.
        """
        spare = [size for encoder in self._each() for size in encoder.spare]
        drawn = [torch.randint(size + 1, (count,), generator=generator) for size in spare]
        return torch.stack(drawn, 1).unflatten(1, (-1, 2))

    def _each(self) -> "list[ImageEncoder]":
        """The encoder of each camera."""
        encoders = cast("list[ImageEncoder]", list(self.encoders))
        return encoders if len(encoders) == len(self.cameras) else encoders * len(self.cameras)


class ImageEncoder(nn.Module):
    """Computes positions of keypoints in images, and features from these.

    Args:
        config: settings.
        height, width: of the images.

    Attributes:
        spare: number of rows and columns of an image that a crop leaves out.
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
        """Encodes normalised images `[n, To, h, w, 3]`, cropped at positions `[n, 2]`, to `[n, To, F]`."""
        n, observed = images.shape[:2]
        x = images.flatten(0, 1)
        if self._resize is not None:
            x = nn.functional.interpolate(x.movedim(3, 1), self._resize, mode="bilinear", antialias=True).movedim(1, 3)
        if places is None:
            x = self._middle(x).movedim(3, 1).contiguous()
        else:  # a view with the channels last, with which a CPU trains nearly twice as fast
            x = _cropped(x, places[:, None].expand(-1, observed, -1).flatten(0, 1), *self._crop).movedim(3, 1)
        maps = self.backbone(x)
        # Always in float32: bfloat16 resolves positions to a third of a pixel only.
        with torch.autocast(images.device.type, enabled=False):
            features = self.out(self.pool(maps.float()).flatten(1)).relu()
        return features.unflatten(0, (n, observed))

    def _middle(self, x: Tensor) -> Tensor:
        """The middle crop of images `[n, h, w, 3]`; odd margins are rounded to even as by Python's `round`."""
        (top, left), (height, width) = (round(size / 2) for size in self.spare), self._crop
        return x[:, top : top + height, left : left + width]


class SpatialSoftmax(nn.Module):
    """Computes keypoints: the mean position under a softmax over each map (Finn et al. 2016, arXiv 1509.06113).

    Args:
        channels, height, width: size of the input maps.
        keypoints: K, the number of maps that are computed from them.
    """

    places: Tensor

    def __init__(self, channels: int, height: int, width: int, keypoints: int):
        super().__init__()
        self.maps = nn.Conv2d(channels, keypoints, 1)
        y, x = torch.meshgrid(_spread(height), _spread(width), indexing="ij")
        self.register_buffer("places", torch.stack([x.flatten(), y.flatten()], 1).float())

    def forward(self, x: Tensor) -> Tensor:
        """Converts maps `[n, C, h, w]` to x and y of each keypoint, from −1 to 1, `[n, K, 2]`."""
        return self.maps(x).flatten(2).softmax(-1) @ self.places


def _spread(count: int) -> Tensor:
    """Evenly spaced numbers from −1 to 1; a single one is −1, as in numpy."""
    return torch.linspace(-1, 1, count, dtype=torch.float64)


def _cropped(x: Tensor, places: Tensor, height: int, width: int) -> Tensor:
    """Crops images `[n, h, w, 3]`, each with its own top left corner `[n, 2]`; does not wait for the device."""
    rows = places[:, :1] + torch.arange(height, device=x.device)
    columns = places[:, 1:] + torch.arange(width, device=x.device)
    image = torch.arange(len(x), device=x.device)
    return x[image[:, None, None], rows[:, :, None], columns[:, None, :]]
