"""Images over the wire: arrays and JPEG, under the names of openpi's clients, and errors in one sentence."""

import io
import json
import struct
import time
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from paradp.policy import DiffusionPolicy, Normalizer, UnetConfig
from paradp.policy.data.normalizer import ObservationNormalizer
from paradp.policy.files.pictures import decoded
from paradp.policy.learning.training import spec_for
from paradp.policy.networks.building import build_network
from paradp.policy.requests import PlanRequest, plan_together
from paradp.policy.serving import Remote, ServerConfig
from paradp.policy.serving.observed import Names, message_limit
from paradp.policy.serving.sessions import Session
from paradp.policy.serving.wire import pack
from paradp.policy.spec import Interface
from paradp.sampler import Speculative, step_table

SHAPE, SIZE = (12, 20, 3), 12 * 20 * 3
SEED = {"paradp/noise_seed": 3}


@pytest.fixture
def spec(info):
    info = replace(info, observation={"front": SHAPE, "observation.images.wrist": (12, 20, 1), "position": 2})
    return spec_for(info, UnetConfig(channels=(8, 16), timestep_embedding=16))


@pytest.fixture
def policy(spec) -> DiffusionPolicy:
    """A policy with random weights and the pixels of images as inputs."""
    torch.manual_seed(0)
    normalizer = Normalizer(torch.zeros(spec.action_size), torch.ones(spec.action_size))
    solver = Speculative(step_table(spec.schedule), window=8)
    middle, reach = (torch.tensor([128.0] * 4 + rest) for rest in ([0.0] * 2, [1.0] * 2))
    observed = ObservationNormalizer.of(spec.observed, middle, reach)
    return DiffusionPolicy(spec, build_network(spec).eval(), observed, normalizer, solver)


def smooth(seed: int, channels: int = 3) -> np.ndarray:
    """A picture without noise, of which JPEG loses little."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:12, 0:20]
    waves = [127 + 120 * np.sin(rng.uniform(0, 6) + rows / 9 + columns / 14) for _ in range(channels)]
    return np.stack(waves, -1).astype(np.uint8)


@pytest.fixture
def history() -> dict[str, np.ndarray]:
    return {
        "front": np.stack([smooth(0), smooth(1)]),
        "observation.images.wrist": np.stack([smooth(2, 1), smooth(3, 1)]),
        "position": np.array([[0.1, 0.2], [0.3, 0.4]], np.float32),
    }


def jpeg(image: np.ndarray, **options) -> bytes:
    """Encodes an image like a camera's driver."""
    written = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(written, "JPEG", **options)
    return written.getvalue()


def last(history: dict) -> dict:
    return {key: value[-1] for key, value in history.items()}


def test_the_server_announces_the_formats_of_images(policy, serving, client):
    told = client(serving.uri).metadata
    assert told["observation"]["front"] == {
        "shape": [2, 12, 20, 3],
        "dtype": "uint8",
        "encodings": ["array", "jpeg"],
        "layout": "height, width, channels",
    }
    assert told["observation"]["position"] == {"shape": [2, 2], "dtype": "float32"}
    assert told["paradp/max_message_bytes"] == message_limit(policy.spec) == 2**21 + 2 * (SIZE + 240)


def test_plans_from_sent_images_equal_local_ones(policy, serving, client, history):
    [here] = plan_together(policy, [PlanRequest(history, 3)])
    assert np.array_equal(client(serving.uri).ask(history | SEED)["actions"], here.actions)
    remote = Remote(serving.uri)
    assert np.array_equal(remote.submit(PlanRequest(history, 3)).result(60).actions, here.actions)
    remote.close()
    other = plan_together(policy, [PlanRequest(history | {"front": 255 - history["front"]}, 3)])[0]
    assert not np.array_equal(other.actions, here.actions)


@pytest.mark.parametrize("wrap", [bytes, lambda content: np.frombuffer(content, np.uint8)], ids=["bytes", "as OpenCV"])
def test_decoded_jpeg_equals_that_of_its_library(policy, serving, client, history, wrap):
    files = {key: [jpeg(image) for image in history[key]] for key in ("front", "observation.images.wrist")}
    shapes = {"front": SHAPE, "observation.images.wrist": (12, 20, 1)}
    seen = history | {key: np.stack([decoded(one, shapes[key]) for one in both]) for key, both in files.items()}
    assert np.abs(seen["front"].astype(int) - history["front"]).max() < 40
    [here] = plan_together(policy, [PlanRequest(seen, 3)])
    sent = history | {key: [wrap(one) for one in both] for key, both in files.items()}
    assert np.array_equal(client(serving.uri).ask(sent | SEED)["actions"], here.actions)
    # The first step stands for those before it.
    one = client(serving.uri)
    one.ask(last({key: value[:1] for key, value in history.items()} | {key: [both[0]] for key, both in files.items()}))
    stepwise = one.ask(last(history) | {key: wrap(both[1]) for key, both in files.items()} | SEED)
    mixed = seen | {"position": history["position"]}
    assert np.array_equal(stepwise["actions"], plan_together(policy, [PlanRequest(mixed, 3)])[0].actions)


NESTED = {
    "openpi's": lambda h: {
        "observation/front": h["front"],
        "observation/wrist": h["observation.images.wrist"],
        "observation/position": h["position"],
        "prompt": "lift the cube",
    },
    "maps": lambda h: {
        "observation": {
            "images": {"front": h["front"], "wrist": h["observation.images.wrist"]},
            "position": h["position"],
        },
        "prompt": "lift the cube",
    },
    "images apart": lambda h: {
        "images": {"front": h["front"], "wrist": h["observation.images.wrist"]},
        "position": h["position"],
        "prompt": "lift the cube",
    },
    "LeRobot's": lambda h: {
        "observation.images.front": h["front"],
        "observation.images.wrist": h["observation.images.wrist"],
        "observation.position": h["position"],
        "prompt": "lift the cube",
    },
}


@pytest.mark.parametrize("named", NESTED.values(), ids=NESTED)
def test_names_of_other_clients_are_accepted_and_the_prompt_is_noted_once(policy, serving, client, history, named, caplog):
    [here] = plan_together(policy, [PlanRequest(history, 3)])
    one = client(serving.uri)
    first, second = (one.ask(named(history) | SEED) for _ in range(2))
    assert np.array_equal(first["actions"], here.actions) and np.array_equal(second["actions"], here.actions)
    assert first["paradp/note"] == "keys that the policy does not read, and ignores: prompt" and "paradp/note" not in second
    assert [record.getMessage() for record in caplog.records if "prompt" in record.getMessage()] == [
        "a client sends keys that the policy does not read, and ignores: prompt"
    ]


CLIENT = """
import io, json, sys
import numpy as np
from PIL import Image
from openpi_client import image_tools
from openpi_client.websocket_client_policy import WebsocketClientPolicy

policy = WebsocketClientPolicy("127.0.0.1", int(sys.argv[1]))
seen = np.load(sys.argv[2])
named = {"observation/front": seen["front"], "observation/wrist": seen["observation.images.wrist"]}
named |= {"observation/position": seen["position"], "prompt": "lift the cube", "paradp/noise_seed": 3}
plain = policy.infer(named)
written = [io.BytesIO(), io.BytesIO()]
for file, image in zip(written, seen["front"]):
    Image.fromarray(image).save(file, "JPEG")
jpeg = policy.infer(named | {"observation/front": [file.getvalue() for file in written]})
large = np.stack([image_tools.resize_with_pad(image, 24, 40) for image in seen["front"]])
said = []
for wrong in (large, seen["front"].transpose(0, 3, 1, 2)):
    try:
        policy.infer(named | {"observation/front": wrong})
    except RuntimeError as error:
        said.append(str(error))
again = policy.infer(named)
plans = [plan["actions"].tolist() for plan in (plain, jpeg, again)]
print(json.dumps([*plans, plain["paradp/note"], *said]))
"""


@pytest.mark.slow
def test_openpis_own_client_sends_images(policy, serving, history, openpi, tmp_path):
    np.savez(tmp_path / "seen.npz", **history)
    plain, encoded, again, note, size, first = json.loads(openpi(CLIENT, str(serving.port), str(tmp_path / "seen.npz")))
    [here] = plan_together(policy, [PlanRequest(history, 3)])
    assert np.array_equal(np.float32(plain), here.actions) and again == plain
    assert 0 < np.abs(np.subtract(encoded, plain)).max() < 0.5
    assert note == "keys that the policy does not read, and ignores: prompt"
    assert "'front' has shape (2, 24, 40, 3)" in size and "its channels come first" in first


def test_a_features_own_name_has_priority():
    assert Names(["image", "state"]).find(["observation/image", "image", "state"]) == {"image": "image", "state": "state"}
    both = Names(["observation.front", "observation.images.front"])
    assert both.find(["observation.images.front", "observation.front"])["observation.front"] == "observation.front"
    with pytest.raises(ValueError, match=r"lacks 'observation\.front'; it has: front"):
        both.find(["front"])
    with pytest.raises(ValueError, match="'image' was sent twice, as 'observation/image' and as 'images/image'"):
        Names(["image"]).find(["observation/image", "images/image"])


def claimed(width: int, height: int) -> bytes:
    """A JPEG of a few bytes that declares a larger size."""
    small = bytearray(jpeg(smooth(0)))
    at = small.index(b"\xff\xc0") + 5
    small[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(small)


def scans(times: int) -> bytes:
    """A JPEG with this many empty scans."""
    small = jpeg(smooth(0))
    at = small.index(b"\xff\xda")
    header = small[at : at + 14]
    return small[:-2] + header * times + small[-2:]


def segments(times: int) -> bytes:
    """A JPEG with this many small EXIF segments."""
    small = jpeg(smooth(0))
    return small[:2] + (b"\xff\xe1" + struct.pack(">H", 12) + b"Exif\0\0abcd") * times + small[2:]


WRONG = {
    "channels first": (
        lambda h: {"front": h["front"].transpose(0, 3, 1, 2)},
        "'front' has shape (2, 3, 12, 20); it is (2, 12, 20, 3), or (12, 20, 3) in every control step; its channels come"
        " first, and should come last: array.transpose(1, 2, 0)",
    ),
    "floats": (
        lambda h: {"front": h["front"] / np.float32(255)},
        "'front' is an image and must be of dtype uint8, not float32: whole numbers from 0 to 255, not scaled",
    ),
    "a size": (
        lambda h: {"front": np.zeros((2, 480, 640, 3), np.uint8)},
        "'front' has shape (2, 480, 640, 3); it is (2, 12, 20, 3), or (12, 20, 3) in every control step (height, width,",
    ),
    "a smaller size": (
        lambda h: {"front": np.zeros((2, 6, 10, 3), np.uint8)},
        "'front' has shape (2, 6, 10, 3); it is (2, 12, 20, 3), or (12, 20, 3) in every control step (height, width,",
    ),
    "no channels": (lambda h: {"front": h["front"][..., 0]}, "'front' has shape (2, 12, 20); it is (2, 12, 20, 3)"),
    "one camera of one step": (lambda h: {"front": h["front"][0]}, "some observations are of one step, others of 2"),
    "text": (lambda h: {"front": "a picture"}, "'front' is an image and must be of dtype uint8, or JPEG, not a str"),
    "texts": (
        lambda h: {"front": ["a", "picture"]},
        "'front' is a list of images, of which each must be an array or JPEG, not a str",
    ),
    "a map": (lambda h: {"front": {"a": h["front"]}}, "'front' is an image and must be of dtype uint8, or JPEG, not a dict"),
    "a file and an array": (
        lambda h: {"front": [jpeg(smooth(0)), h["front"][0]]},
        "'front' is a list of images, of which each must be an array or JPEG, not a bytes",
    ),
    "frames of two types": (
        lambda h: {"front": [h["front"][0], h["front"][1] / 255]},
        "'front' is an image and must be of dtype uint8, not float64",
    ),
    "frames of two sizes": (
        lambda h: {"front": [h["front"][0], h["front"][1, :5]]},
        "'front' is an image and must be an array, not a list",
    ),
    "no frames": (lambda h: {"front": []}, "'front' is an image and must be of dtype uint8, not float64"),
    "too many frames": (lambda h: {"front": [jpeg(smooth(0))] * 3}, "'front' has 3 JPEG frames; 2 are observed"),
    "JPEG of another size": (
        lambda h: {"front": [jpeg(np.zeros((24, 20, 3), np.uint8))] * 2},
        "'front' cannot be read: it is 20 × 24 pixels, not 20 × 12",
    ),
    "a bomb": (lambda h: {"front": [claimed(65_500, 65_500)] * 2}, "'front' cannot be read: it is not a readable JPEG"),
    "a small bomb": (lambda h: {"front": [claimed(5000, 5000)] * 2}, "'front' cannot be read: it is 5000 × 5000 pixels"),
    "many segments": (
        lambda h: {"front": [segments(65)] * 2},
        "'front' cannot be read: it has 65 segments of EXIF; at most 64 are read",
    ),
    "much beside its pixels": (
        lambda h: {"front": [jpeg(smooth(0))[:2] + b"x" * 70_000 + jpeg(smooth(0))[2:]] * 2},
        "a JPEG of 20 × 12 pixels has at most 66976",
    ),
    "many scans": (lambda h: {"front": [scans(4000)] * 2}, "'front' cannot be read: it has 4001 scans; at most 32 are read"),
    "a JPEG that ends early": (
        lambda h: {"front": [jpeg(smooth(0))[:-200]] * 2},
        "'front' cannot be read: it is not a readable JPEG",
    ),
    "a PNG": (lambda h: {"front": [b"\x89PNG\r\n\x1a\n" + bytes(100)] * 2}, "it is not a readable JPEG"),
    "four colours": (
        lambda h: {"front": [cmyk()] * 2},
        "'front' cannot be read: its pixels are CMYK; L and RGB are read",
    ),
    "nothing": (lambda h: {"front": [b""] * 2}, "'front' cannot be read: it is not a readable JPEG"),
}


def cmyk() -> bytes:
    written = io.BytesIO()
    Image.fromarray(smooth(0)).convert("CMYK").save(written, "JPEG")
    return written.getvalue()


def test_an_error_names_a_wrong_image_and_the_session_continues(serving, client, history):
    one = client(serving.uri)
    for what, (wrong, said) in WRONG.items():
        answer = one.ask(history | wrong(history))
        assert isinstance(answer, str) and said in answer, (what, answer)
        assert "\n" not in answer and len(answer) < 300
    answer = one.ask({key: value for key, value in history.items() if key != "front"} | {"prompt": "x"})
    assert answer == "the observation lacks 'front'; it has: observation.images.wrist, position, prompt"
    assert one.ask(history)["actions"].shape == (15, 2)


def test_lists_in_place_of_an_image_take_no_memory(spec, history):
    lists = b"\xdc\x0f\xa0" + b"\x90" * 4000
    at = pack({**history, "front": None}).index(b"front") + 5
    whole = pack({**history, "front": None})
    assert whole[at : at + 1] == b"\xc0"
    hostile = whole[:at] + b"\xdc\x0f\xa0" + lists * 4000 + whole[at + 1 :]
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="'front' cannot be read: more than 32768 values"):
            Session(spec).read(hostile)
        assert tracemalloc.get_traced_memory()[1] < 25 * 2**20 < 70 * len(hostile)
    finally:
        tracemalloc.stop()


def test_texts_in_place_of_an_image_take_no_memory(spec, history):
    """In an array, each text would take as much memory as the longest."""
    hostile = pack(history | {"front": ["a"] * 1999 + ["x" * 20_000]})
    tracemalloc.start()
    try:
        with pytest.raises(
            ValueError, match="'front' is a list of images, of which each must be an array or JPEG, not a str"
        ):
            Session(spec).read(hostile)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_jpeg_with_many_segments_takes_no_time():
    hostile = segments(100_000)
    started = time.process_time()
    with pytest.raises(ValueError, match="100000 segments"):
        decoded(hostile, (480, 640, 3), ("JPEG",))
    assert time.process_time() - started < 0.1
    assert np.array_equal(decoded(segments(64), SHAPE), decoded(jpeg(smooth(0)), SHAPE))


@pytest.mark.parametrize("channels", [1, 3])
def test_the_longest_jpegs_are_read(channels):
    """Noise in the best quality with the largest preview, also in colours where grey is expected."""
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    exif = b"Exif\0\0" + bytes(65_000)
    content = jpeg(noise, quality=100, subsampling=0, exif=exif)
    assert decoded(content, (240, 320, channels), ("JPEG",)).shape == (240, 320, channels)


def test_a_changed_jpeg_is_read_or_refused(spec, history):
    """Valid files with bytes changed at random."""
    rng, session, good = np.random.default_rng(0), Session(spec), jpeg(smooth(0))
    read = 0
    for _ in range(300):
        content = bytearray(good)
        for at in rng.integers(len(good), size=rng.integers(1, 6)):
            content[at] = rng.integers(256)
        try:
            request = session.read(pack(history | {"front": [bytes(content)] * 2}))
        except ValueError as error:
            assert "'front'" in str(error)
        else:
            read += 1
            assert request.history["front"].shape == (2, *SHAPE)
    assert 0 < read < 300


def test_a_given_size_limit_applies(policy, running, client):
    with running(policy, most_bytes=1000) as serving:
        assert client(serving.uri).metadata["paradp/max_message_bytes"] == 1000
    assert ServerConfig().most_bytes is None


def test_two_large_cameras_pass_by_default(info):
    large = replace(info, observation={"front": (480, 640, 3), "wrist": (480, 640, 3)})
    spec = Interface(**{name: getattr(large, name) for name in Interface.__dataclass_fields__ if hasattr(large, name)})
    frames = {key: np.zeros((2, 480, 640, 3), np.uint8) for key in spec.observation}
    sent = pack(frames | {"prompt": "x", "paradp/guess": np.zeros((16, 2), np.float32)})
    assert len(sent) < message_limit(spec)
    assert Session(spec).read(sent).history["wrist"].shape == (2, 480, 640, 3)


WRAPPED = {
    "arrays": lambda frame: frame,
    "JPEG": jpeg,
    "JPEG as OpenCV": lambda frame: np.frombuffer(jpeg(frame, quality=100), np.uint8),
}


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_images_of_a_camera_may_be_sent_in_a_list(wrap, info):
    large = replace(info, observation={"front": (480, 640, 3)})
    spec = Interface(**{name: getattr(large, name) for name in Interface.__dataclass_fields__ if hasattr(large, name)})
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    sent = pack({"front": [wrap(noise)] * 2})
    assert len(sent) > 2**17
    assert Session(spec).read(sent).history["front"].shape == (2, 480, 640, 3)
