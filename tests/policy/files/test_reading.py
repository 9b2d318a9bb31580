"""The readers of small files: strict JSON, regular files inside their folder, headers of safetensors, frames of zstd."""

import contextlib
import hashlib
import io
import json
import struct

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numcodecs.zstd import Zstd
from safetensors.torch import save_file

from paradp.policy.files import limits
from paradp.policy.files.reading import parse_json, read_bytes, read_json, read_object, read_text, sha256
from paradp.policy.files.tables import column_names, read_table
from paradp.policy.files.tensors import TensorFile
from paradp.policy.files.zstd import check_frame

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(VALUES)
def test_json_is_read_as_it_was_written(value):
    assert parse_json(json.dumps(value)) == value
    assert parse_json(json.dumps(value, ensure_ascii=False).encode()) == value


@given(st.binary(max_size=80) | st.text(alphabet='[]{}",:\\u0d8e1NaI-', max_size=80))
def test_anything_else_ends_in_a_sentence(content):
    with contextlib.suppress(ValueError):
        parse_json(content)


@pytest.mark.parametrize("text", ["[" * 33 + "]" * 33, '{"a":' * 33 + "0" + "}" * 33, "[" * 100_000])
def test_depth_is_limited(text):
    parse_json("[" * 32 + "]" * 32)
    with pytest.raises(ValueError, match="nested more than 32 deep"):
        parse_json(text)


@pytest.mark.parametrize("text", ['{"a": 1, "a": 1}', "NaN", "[-Infinity]", '"\\ud800"', '{"\\uDc00": 1}', "9" * 5000])
def test_json_that_readers_interpret_differently_is_refused(text):
    with pytest.raises(ValueError):
        parse_json(text)
    assert parse_json('["\\ud83e\\udd16", 1e300]') == ["🤖", 1e300]
    assert parse_json("[NaN, Infinity]", constants=True)[1] == float("inf")


@pytest.mark.parametrize("text", ["1e999", "-1e999", "18446744073709551616", "-9223372036854775809", "1" + "0" * 400])
def test_numbers_fit_into_64_bits(text):
    for content in (text, f'{{"a": [{text}]}}'):
        with pytest.raises(ValueError, match=r"the number .* is too large"):
            parse_json(content)
    assert parse_json("[18446744073709551615, -9223372036854775808, -1.7e308]") == [2**64 - 1, -(2**63), -1.7e308]


def test_the_number_of_values_is_limited(monkeypatch):
    monkeypatch.setattr("paradp.policy.files.reading.JSON_VALUES", 10)
    assert len(parse_json("[" + "1," * 8 + "1]")) == 9
    with pytest.raises(ValueError, match="more than 10 values"):
        parse_json("[" + "1," * 10 + "1]")


def test_only_a_regular_file_of_the_folder_is_opened(tmp_path):
    import os

    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "file.json").write_text("[1]")
    (folder / "inside.json").symlink_to("file.json")
    (tmp_path / "outside.json").write_text("[2]")
    (folder / "outside.json").symlink_to("../outside.json")
    (folder / "endless").symlink_to("endless")
    os.mkfifo(folder / "pipe")
    assert read_json(folder / "inside.json", 10) == [1]
    # The user's own link to a file is the user's own business.
    assert read_bytes(folder / "outside.json", 10, inside=False) == b"[2]"
    for name, message in {
        "outside.json": "a link that leads out of its folder",
        "pipe": "not a regular file",
        ".": "not a regular file",
    }.items():
        with pytest.raises(ValueError, match=message):
            read_json(folder / name, 10)
    with pytest.raises((OSError, ValueError)):
        read_bytes(folder / "endless", 10)
    # A folder that is reached by a link is the folder.
    (tmp_path / "link").symlink_to("folder")
    assert read_json(tmp_path / "link/file.json", 10) == [1]
    with pytest.raises(ValueError, match="has 3 bytes; at most 2 are read"):
        read_bytes(folder / "file.json", 2)
    with pytest.raises(ValueError, match="holds a list, not an object"):
        read_object(folder / "file.json", 10)
    (folder / "file.json").write_bytes(b"\xff")
    with pytest.raises(ValueError, match="is not text"):
        read_text(folder / "file.json", 10)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_file({"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.float16)}, path, {"step": "3"})
    return path


def test_a_header_says_what_is_stored(weights):
    file = TensorFile.open(weights, 10**4)
    assert file.metadata == {"step": "3"}
    assert {name: (t.dtype, t.shape) for name, t in file.tensors.items()} == {"a": ("F32", (2, 3)), "b": ("F16", (4,))}
    targets = {"a": torch.zeros(2, 3), "b": torch.zeros(4)}
    file.fill(targets)
    assert torch.equal(targets["a"], torch.arange(6.0).reshape(2, 3)) and torch.equal(targets["b"], torch.ones(4))
    for shapes, message in [
        ({"a": (2, 3)}, "the tensor 'b' is not expected"),
        ({"a": (2, 3), "b": (5,)}, r"'b' has shape \[4\], not \[5\]"),
        ({"c": ()}, "'c' is missing"),
    ]:
        with pytest.raises(ValueError, match=message):
            file.check_shapes(shapes)


@settings(max_examples=300)
@given(st.data())
def test_a_damaged_header_ends_in_a_sentence_or_fits_the_file(weights, tmp_path_factory, data):
    content = bytearray(weights.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content
    path = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    path.write_bytes(content)
    try:
        file = TensorFile.open(path, 10**4)
    except ValueError as error:
        assert str(path) in str(error)
    else:
        (length,) = struct.unpack("<Q", content[:8])
        assert sum(tensor.bytes for tensor in file.tensors.values()) == len(content) - 8 - length


@given(st.binary(min_size=1, max_size=3000), st.integers(1, 200), st.sampled_from([-5, 0, 3, 19]), st.booleans())
def test_frames_that_an_encoder_writes_are_accepted_whole_and_alone(content, times, level, checksum):
    content = content * times
    frame = Zstd(level=level, checksum=checksum).encode(content)

    def check(written: bytes, size: int = len(content)) -> None:
        check_frame(io.BytesIO(written), len(written), size)

    check(frame)
    for wrong in (frame[:-1], frame[: len(frame) // 2], frame + b"\0", frame + frame, b"\0" + frame, b""):
        with pytest.raises(ValueError):
            check(wrong)
    with pytest.raises(ValueError, match="declares a content of"):
        check(frame, len(content) + 1)


def test_a_large_frame_of_noise_is_accepted():
    content = np.random.default_rng(0).bytes(3_000_000)
    frame = Zstd(level=0, checksum=True).encode(content)
    check_frame(io.BytesIO(frame), len(frame), len(content))


def test_tables_are_read_or_refused(tmp_path, monkeypatch):
    import pandas as pd

    path = tmp_path / "t.parquet"
    pd.DataFrame({"seed": [1, 2], "name": ["a", "b"]}).to_parquet(path)
    assert read_table(path, ("seed",)).to_dict("list") == {"seed": [1, 2]}
    assert column_names(path) == ["seed", "name"]
    with pytest.raises(ValueError, match=r"t\.parquet has a column 'name' that holds no numbers"):
        read_table(path, ("seed", "name"))
    with pytest.raises(ValueError, match=r"t\.parquet lacks the column 'reward'"):
        read_table(path, ("seed", "reward"))
    content = path.read_bytes()
    for damaged in (content[:-20], content[: len(content) // 2], b"", b"PAR1", b"noise" * 100):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"t\.parquet is not a readable table"):
            read_table(path)
    path.write_bytes(content)
    monkeypatch.setattr("paradp.policy.files.tables.MOST_CELLS", 3)
    with pytest.raises(ValueError, match="claims 2 rows of 2 columns"):
        read_table(path)


def test_every_kind_of_column_of_our_tables_is_read(tmp_path):
    import pandas as pd

    table = pd.DataFrame({"seed": [1, 2, 3], "success": [True, False, True], "seconds": [0.1, 0.2, None]})
    table["action"] = [[0.5, 1.0], [1.5, 2.0], [2.5, 3.0]]
    table["converged"] = [True, None, False]
    table["against"] = None
    table.to_parquet(tmp_path / "t.parquet", index=False)
    read = read_table(tmp_path / "t.parquet")
    read["action"] = read["action"].map(list)
    pd.testing.assert_frame_equal(read, table)


def test_the_limits_accept_all_published_files():
    """The largest that is published or made here, with room to spare."""
    from paradp.policy.horizons import Horizons
    from paradp.policy.networks.building import shapes_of
    from paradp.policy.networks.transformer import TransformerConfig
    from paradp.policy.networks.unet import UnetConfig
    from paradp.policy.spec import PolicySpec

    def spec(network, **changes):
        sizes = dict(observation={"state": 2048}, action={"step": 14}, action_low=(-1.0,) * 14, action_high=(1.0,) * 14)
        settings = dict(task="t", action_convention="delta", control_hz=50, controller={})
        return PolicySpec(**settings, **sizes, horizons=Horizons(2, 64, 32), network=network, **changes)

    def numbers(network):
        return sum(int(np.prod(shape)) for shape in shapes_of(spec(network)).values())

    # LeRobot's default sizes, and the largest transformer of Diffusion Policy's experiments and more.
    assert 2.6e8 < numbers(UnetConfig(channels=(512, 1024, 2048), kernel_size=5, groups=8)) < limits.WEIGHTS_BYTES / 4
    assert numbers(TransformerConfig(layers=24, heads=16, embedding=1024)) < limits.WEIGHTS_BYTES / 4
    thousand = {"_class_name": "DDPMScheduler", "num_train_timesteps": 1000, "trained_betas": [0.01] * 1000}
    assert spec(UnetConfig(), schedule=thousand).horizons.predict == 64
    assert limits.MOST_NUMBERS > 2 * 10**8


@pytest.mark.parametrize(
    "holes", [(), ((0, 5_000_000),), ((3_000_000, 4_000_000),), ((100, 2_500_000), (6_000_000, 9_000_001))]
)
def test_a_digest_covers_the_whole_file_including_holes(tmp_path, holes):
    content = bytearray(np.random.default_rng(0).bytes(9_000_001))
    path = tmp_path / "file"
    with path.open("wb") as file:
        at = 0
        for begin, end in (*holes, (len(content), len(content))):
            file.write(content[at:begin])
            content[begin:end] = bytes(end - begin)
            file.seek(end)
            at = end
        file.truncate(len(content))
    assert path.read_bytes() == content
    assert sha256(path, len(content)) == hashlib.sha256(content).hexdigest()
