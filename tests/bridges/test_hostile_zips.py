"""Hostile zip files in place of PyTorch's are refused with one sentence, before memory is allocated."""

import io
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hostile_files import TWO, Reduces, canary, in_zip, refused, touch

from paradp.bridges import read_diffusion_policy
from paradp.bridges.pickled import PICKLE_BYTES
from paradp.checkpoints import load_policy


def entry(name: str, content: bytes = b"", **changes: object) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    for key, value in changes.items():
        setattr(info, key, value)
    return info


def zipped(path: Path, *members: tuple[zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as whole:
        for info, content in members:
            whole.writestr(info, content)
    return path


DATA = (entry("archive/data.pkl"), TWO + b"}.")
ZIPS: dict[str, tuple[list[tuple[zipfile.ZipInfo, bytes]], str]] = {
    "up": ([DATA, (entry("archive/../../it"), b"")], "leads out of the archive"),
    "absolute": ([DATA, (entry("/etc/it"), b"")], "leads out of the archive"),
    "backslash": ([DATA, (entry("archive\\..\\it"), b"")], "leads out of the archive"),
    "two folders": ([DATA, (entry("other/data.pkl"), b"")], "do not lie in one folder"),
    "no folder": ([(entry("data.pkl"), b"")], "do not lie in one folder"),
    "a bomb": (
        [DATA, (entry("archive/data/0", compress_type=zipfile.ZIP_DEFLATED), bytes(10**7))],
        "is compressed or encry",
    ),
    "another order": ([DATA, (entry("archive/byteorder"), b"big")], "their bytes in another order"),
    "no pickle": ([(entry("archive/version"), b"3")], "it has no member 'data.pkl'"),
    "a large pickle": ([(entry("archive/data.pkl"), bytes(PICKLE_BYTES + 1))], f"at most {PICKLE_BYTES} are read"),
}


@pytest.mark.parametrize("name", ZIPS)
def test_other_zip_files_are_refused(name, tmp_path):
    members, message = ZIPS[name]
    assert message in refused(zipped(tmp_path / "it.ckpt", *members))


def test_a_duplicate_name_is_refused(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate"):
        path = zipped(tmp_path / "it.ckpt", DATA, DATA)
    assert "'archive/data.pkl' occurs twice" in refused(path)


def changed(path: Path, at: bytes, shift: int, value: bytes, which: int = 0) -> Path:
    """Replaces the bytes at an offset behind a marker."""
    raw = bytearray(path.read_bytes())
    places = [i for i in range(len(raw)) if raw[i : i + len(at)] == at]
    place = places[which] + shift
    raw[place : place + len(value)] = value
    path.write_bytes(raw)
    return path


CHANGES: dict[str, tuple[bytes, int, bytes, str]] = {
    "a member beyond the file": (b"PK\1\2", 20, b"\xff\xff\xff\x0f" * 2, "lies outside of the file"),
    "stored and real size differ": (b"PK\1\2", 24, b"\xff\xff\xff\x0f", "claims 268435455 bytes and stores"),
    "a header elsewhere": (b"PK\1\2", 42, b"\7\0\0\0", "overlaps another|lies outside|is damaged"),
    "encrypted": (b"PK\1\2", 8, b"\1\0", "is compressed or encrypted"),
    "compressed inside": (b"PK\3\4", 8, b"\x08\0", "is compressed or encrypted"),
    "no header": (b"PK\3\4", 0, b"XK\3\4", "is damaged"),
    "many members": (b"PK\5\6", 8, b"\xfe\xff\xfe\xff", "its table of contents is cut short"),
    "large contents": (b"PK\5\6", 12, b"\xfe\xff\xff\xff", "bytes of contents"),
    "contents elsewhere": (b"PK\5\6", 16, b"\xfe\xff\xff\xff", "cut short"),
    "a comment": (b"PK\5\6", 20, b"\4\0", "not a zip file that PyTorch wrote"),
    "a second disk": (b"PK\5\6", 4, b"\1\0", "a part of an archive"),
    "64 bits without their record": (b"PK\5\6", 16, b"\xff\xff\xff\xff", "end record is damaged"),
    "64 bits without their field": (b"PK\1\2", 24, b"\xff\xff\xff\xff", "does not say how large it is"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_zip_files_with_false_sizes_are_refused(name, tmp_path):
    at, shift, value, message = CHANGES[name]
    path = changed(in_zip(tmp_path / "it.ckpt", TWO + b"}."), at, shift, value)
    said = refused(path)
    assert any(part in said for part in message.split("|")), said


def large(path: Path, **claims: int) -> Path:
    """A file with the second end record, which PyTorch writes beyond 4 GB."""
    raw = path.read_bytes()
    _, _, _, _, count, length, begin, _ = struct.unpack("<4s4H2LH", raw[-22:])
    said = {"count": count, "length": length, "begin": begin, "where": len(raw) - 22} | claims
    record = struct.pack(
        "<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, said["count"], said["count"], said["length"], said["begin"]
    )
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, said["where"], 1)
    absent = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 2**16 - 1, 2**16 - 1, 2**32 - 1, 2**32 - 1, 0)
    path.write_bytes(raw[:-22] + record + locator + absent)
    return path


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ({}, "is not a checkpoint of Diffusion Policy or robomimic"),  # which it is: the zip is read
        ({"count": 2**60}, "it claims 1152921504606846976 members"),
        ({"length": 2**60}, "it claims 2 members in 1152921504606846976 bytes"),
        ({"begin": 2**60}, "lies outside of the file"),
        ({"where": 2**60}, "its end record is damaged"),
        ({"where": 0}, "its end record is damaged"),
    ],
)
def test_large_zip_files(tmp_path, claims, message):
    assert message in refused(large(in_zip(tmp_path / "it.ckpt", TWO + b"}."), **claims))


def test_an_error_names_a_file_that_is_not_a_zip(tmp_path):
    for name, content in {
        "text.ckpt": b"hello " * 100,
        "empty.ckpt": b"",
        "plain.ckpt": pickle.dumps({"cfg": Reduces(touch(tmp_path))}, 2),
        "noise.pth": np.random.default_rng(0).bytes(5000),
    }.items():
        (tmp_path / name).write_bytes(content)
        assert "not a zip file" in refused(tmp_path / name)
        with pytest.raises(ValueError, match=f"{name} is not a file that torch.save wrote since PyTorch 1.6"):
            load_policy(tmp_path / name)
    buffer = io.BytesIO()
    torch.save({"cfg": {}}, buffer, _use_new_zipfile_serialization=False)
    (tmp_path / "old.pth").write_bytes(buffer.getvalue())
    assert "not a zip file" in refused(tmp_path / "old.pth")
    assert not canary(tmp_path).exists()


def test_a_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "it.ckpt")
    with pytest.raises(ValueError, match=r"it\.ckpt"):
        load_policy(tmp_path / "it.ckpt")
    with pytest.raises(ValueError, match="is not a regular file"):
        read_diffusion_policy(tmp_path / "it.ckpt")
