"""Maps the names of our networks' tensors to those of Diffusion Policy and robomimic."""

from collections.abc import Sequence

_UNET = {
    "timestep_encoder": "diffusion_step_encoder",
    "down": "down_modules",
    "middle": "mid_modules",
    "up": "up_modules",
    "head": "final_conv",
}
_PARTS = {"first": "0", "second": "1", "resample": "2.conv"}
_BLOCK = {"first": "blocks.0.block", "second": "blocks.1.block", "film": "cond_encoder", "residual": "residual_conv"}
_TRANSFORMER = {
    "embed_action": "input_emb",
    "embed_observation": "cond_obs_emb",
    "action_position": "pos_emb",
    "condition_position": "cond_pos_emb",
    "decoder.norm": "ln_f",
}
# robomimic's image encoder: backbone, spatial softmax, a layer without weights, and a linear layer.
_ENCODER = {"backbone": "nets.0.nets", "pool.maps": "nets.1.nets", "out": "nets.3"}
# Coordinates in a feature map, which our encoder computes and does not store.
COMPUTED = "pool.places"


def unet_name(name: str) -> str:
    """Returns the other program's name of a tensor of our U-Net."""
    head, *rest = name.split(".")
    if head == "head":
        inside = [rest[0], *(["block"] if rest[0] == "0" else []), *rest[1:]]
    elif head == "timestep_encoder":
        inside = rest
    else:
        stage = [] if head == "middle" else [rest.pop(0)]
        part, *inner = rest
        inside = [*stage, _PARTS[part], *(inner if part == "resample" else [_BLOCK[inner[0]], *inner[1:]])]
    return ".".join([_UNET[head], *inside])


def transformer_name(name: str) -> str:
    """Returns the other program's name of a tensor of our transformer."""
    for ours, theirs in _TRANSFORMER.items():
        if name == ours or name.startswith(f"{ours}."):
            return theirs + name.removeprefix(ours)
    return name


def encoder_name(name: str, cameras: Sequence[str]) -> str:
    """Returns the other program's name of a tensor `encoders.N.…` of our image encoders, N counting the cameras."""
    _, number, inner = name.split(".", 2)
    for ours, theirs in _ENCODER.items():
        if inner.startswith(f"{ours}."):
            inner = theirs + inner.removeprefix(ours)
    return f"obs_nets.{cameras[int(number)]}.{inner}"
