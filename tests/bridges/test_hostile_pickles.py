"""Hostile pickles are refused with one sentence, before any code in them runs and before memory is allocated."""

import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusion_policy_fixtures import content_of
from hostile_files import TWO, Reduces, canary, in_zip, refused, text, touch

from paradp.bridges import read_diffusion_policy
from paradp.bridges.pickled import MOST_INSTRUCTIONS, PICKLE_BYTES
from paradp.checkpoints import load_policy


def call(module: str, name: str, *arguments: bytes) -> bytes:
    """A pickle that calls a function."""
    return TWO + f"c{module}\n{name}\n(".encode() + b"".join(arguments) + b"tR."


def storage(kind: bytes = b"ctorch\nFloatStorage\n", key: str = "0", count: bytes = b"K\4", first: str = "storage") -> bytes:
    """A persistent id of a storage, as torch.save writes it."""
    return b"(" + text(first) + kind + text(key) + text("cpu") + count + b"tQ"


def tensor(shape: bytes = b"K\4\x85", strides: bytes = b"K\1\x85", offset: bytes = b"K\0", of: bytes | None = None) -> bytes:
    """A tensor, by default of four numbers."""
    inside = storage() if of is None else of
    made = b"ctorch._utils\n_rebuild_tensor_v2\n(" + inside + offset + shape + strides
    return made + b"\x89ccollections\nOrderedDict\n)RtR"


class SetsState:
    """Creates a file when its state is set."""

    def __init__(self, path: str):
        self.path = path

    def __setstate__(self, state):
        Path(state["path"]).touch()


def run(folder: Path) -> str:
    return f"__import__('os').system('{touch(folder)}')"


# What is in the pickle → what is said of it.
RUNNING: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "reduce": (lambda at: pickle.dumps(Reduces(touch(at)), 2), "it names 'posix.system', which no supported policy needs"),
    "reduce, inside": (lambda at: pickle.dumps({"cfg": {}, "state_dicts": [Reduces(touch(at))]}, 2), "'posix.system'"),
    "a class of one's own": (
        lambda at: pickle.dumps(SetsState(str(canary(at))), 2),
        "SetsState', which no supported policy needs",
    ),
    "os.system": (lambda at: call("os", "system", text(touch(at))), "it names 'os.system'"),
    "eval": (lambda at: call("__builtin__", "eval", text(run(at))), "it names '__builtin__.eval'"),
    "exec": (lambda at: call("builtins", "exec", text(run(at))), "it names 'builtins.exec'"),
    "getattr": (lambda at: call("__builtin__", "getattr", text("a"), text("b")), "it names '__builtin__.getattr'"),
    "a name with dots": (lambda at: call("torch", "serialization.os.system", text(touch(at))), "torch.serialization.os.sys"),
    "torch.load": (lambda at: call("torch", "load", text("x")), "it names 'torch.load'"),
    "dill's loads": (lambda at: call("dill._dill", "loads", text("x")), "it names 'dill._dill.loads'"),
    "dill's import": (lambda at: call("dill._dill", "_import_module", text("os")), "it names 'dill._dill._import_module'"),
    "omegaconf's resolve": (
        lambda at: call("omegaconf.omegaconf", "OmegaConf", text("x")),
        "'omegaconf.omegaconf.OmegaConf'",
    ),
    "hydra": (lambda at: call("hydra.utils", "instantiate", b"}"), "it names 'hydra.utils.instantiate'"),
    "numpy": (lambda at: call("numpy.testing._private.utils", "runstring", text(run(at)), b"}"), "runstring'"),
    "unused": (lambda at: TWO + b"cos\nsystem\n0}.", "it names 'os.system'"),
    "in memory": (lambda at: TWO + b"cos\nsystem\nq\1h\1" + text(touch(at)) + b"\x85R.", "it names 'os.system'"),
    "codec of another kind": (
        lambda at: call("_codecs", "encode", text("x"), text("zlib_codec")),
        "it has invalid bytes",
    ),
    "a type that is called": (
        lambda at: TWO + b"cdill._dill\n_load_type\n" + text("eval") + b"\x85R(" + b"tR.",
        "not a function",
    ),
    "stack global": (
        lambda at: b"\x80\4" + text("os") + text("system") + b"\x93" + text(touch(at)) + b"\x85R.",
        "protocol 2",
    ),
    "stack global in 2": (lambda at: TWO + text("os") + text("system") + b"\x93)R.", "instruction b'\\x93'"),
    "names from memory": (
        lambda at: TWO + text("os") + b"q\0" + text("system") + b"q\1h\0h\1\x93)R.",
        "instruction b'\\x93'",
    ),
    "inst": (lambda at: TWO + b"(" + text(touch(at)) + b"ios\nsystem\n.", "instruction b'i'"),
    "obj": (lambda at: TWO + b"(cos\nsystem\n" + text(touch(at)) + b"o.", "it names 'os.system'"),
    "extension 1": (lambda at: TWO + b"\x82\1)R.", "instruction b'\\x82'"),
    "extension 2": (lambda at: TWO + b"\x83\1\0)R.", "instruction b'\\x83'"),
    "extension 4": (lambda at: TWO + b"\x84\1\0\0\0)R.", "instruction b'\\x84'"),
    "keyword arguments": (lambda at: b"\x80\4" + b"\x92.", "protocol 2"),
    "protocol 0": (lambda at: pickle.dumps(Reduces(touch(at)), 0), "protocol 2"),
    "protocol 5": (lambda at: pickle.dumps(Reduces(touch(at)), 5), "protocol 2"),
    "a second pickle behind": (lambda at: TWO + b"}." + pickle.dumps(Reduces(touch(at)), 2), "does not end where it should"),
}
BUILDING: dict[str, tuple[bytes, str]] = {
    "state of a list": (TWO + b"]}b.", "sets the state of something that is not an object"),
    "state of a name": (TWO + b"ctorch\nFloatStorage\n}b.", "sets the state of something that is not an object"),
    "state of a tensor": (TWO + tensor() + b"}b.", "sets the state of something that is not an object"),
    "state twice": (TWO + b"cpathlib\nPosixPath\n)R}b}b.", "sets the state of something that is not an object"),
    "call of a text": (TWO + text("os.system") + b")R.", "calls something that is not a function"),
    "call without a tuple": (TWO + b"ccollections\nOrderedDict\n]R.", "calls something that is not a function"),
    "items of a list": (TWO + b"]" + text("a") + b"Ns.", "sets keys of something that is not a dict"),
    "append to a dict": (TWO + b"}Na.", "appends to something that is not a list"),
    "append to a tuple": (TWO + b")Na.", "appends to something that is not a list"),
    "half a pair": (TWO + b"}(" + text("a") + b"u.", "has a key without a value"),
    "a key of its own": (TWO + b"}cpathlib\nPosixPath\n)RNs.", "a key that is neither text nor whole number"),
    # Its hash would take 2 to the power of 60 steps.
    "a key of twos": (TWO + b"})" + b"q\0h\0\x86" * 60 + b"Ns.", "a key that is neither text nor whole number, but tuple"),
    "a tensor of nothing": (TWO + b"ctorch._utils\n_rebuild_tensor_v2\n)R.", "an invalid tensor"),
    "a parameter of nothing": (TWO + b"ctorch._utils\n_rebuild_parameter\n(NNNtR.", "an invalid parameter"),
    "a dict of something": (TWO + b"ccollections\nOrderedDict\n](tR.", "something that is not a function"),
    "a dict of pairs": (TWO + b"ccollections\nOrderedDict\n(]tR.", "an invalid dict"),
}
STORING: dict[str, tuple[bytes, str]] = {
    "no tuple": (TWO + text("0") + b"Q.", "refers to something that is not a tensor's storage"),
    "another kind": (TWO + storage(first="module") + b".", "refers to something that is not a tensor's storage"),
    "a type of another place": (TWO + storage(b"cpathlib\nPath\n") + b".", "a storage of a type that is not known"),
    "a type that is a text": (TWO + storage(text("FloatStorage")) + b".", "a storage of a type that is not known"),
    "a type that is unknown": (TWO + storage(b"ctorch\nQUInt8Storage\n") + b".", "it names 'torch.QUInt8Storage'"),
    "a path": (TWO + storage(key="../../etc/passwd") + b".", "a storage of a type that is not known"),
    "a key that is missing": (TWO + storage(key="7") + b".", "the storage '7' is missing"),
    "negative": (TWO + storage(count=b"J\xff\xff\xff\xff") + b".", "an invalid number of values"),
    "true": (TWO + storage(count=b"\x88") + b".", "an invalid number of values"),
    "huge": (TWO + storage(count=b"\x8a\7\0\0\0\0\0\0\x10") + b".", "claims 4503599627370496 values and has 16 bytes"),
    "short": (TWO + storage(count=b"K\3") + b".", "claims 3 values and has 16 bytes"),
    "another width": (TWO + storage(b"ctorch\nDoubleStorage\n") + b".", "claims 4 values and has 16 bytes"),
    "too long": (TWO + tensor(b"K\5\x85") + b".", "of shape [5] in a storage of 4 values"),
    "behind the end": (TWO + tensor(offset=b"K\1") + b".", "of shape [4] in a storage of 4 values"),
    "before the start": (TWO + tensor(offset=b"J\xff\xff\xff\xff") + b".", "a tensor of an invalid size"),
    "of negative size": (TWO + tensor(b"J\xff\xff\xff\xff\x85") + b".", "a tensor of an invalid size"),
    "repeated": (TWO + tensor(b"\x8a\6\0\0\0\0\0\x10\x85", b"K\0\x85") + b".", "whose values do not lie in order"),
    "overlapping": (TWO + tensor(b"K\2K\3\x86", b"K\1K\1\x86") + b".", "whose values do not lie in order"),
    "of a thousand dimensions": (
        TWO + tensor(b"(" + b"K\1" * 1000 + b"t", b"(" + b"K\1" * 1000 + b"t") + b".",
        "an invalid size",
    ),
    "made of a list": (TWO + tensor(of=b"]") + b".", "an invalid tensor"),
}
SIZES: dict[str, tuple[bytes, str]] = {
    "marks": (TWO + b"(" * 100_000, "nested more than 200 deep"),
    "a long text": (TWO + b"X\xff\xff\xff\xffabc", "cut short"),
    "a very long text": (TWO + b"\x8d" + b"\xff" * 8, "instruction b'\\x8d'"),
    "a byte array": (b"\x80\5\x96" + b"\xff" * 8, "protocol 2"),
    "a byte array in 2": (TWO + b"\x96" + b"\xff" * 7 + b"\x0f", "instruction b'\\x96'"),
    "bytes": (TWO + b"B\xff\xff\xff\xff", "instruction b'B'"),
    "a long number": (TWO + b"\x8a\xff" + b"\xff" * 255 + b".", "a whole number of 255 bytes"),
    "a very long number": (TWO + b"\x8b\xff\xff\xff\x7f.", "instruction b'\\x8b'"),
    "a number in letters": (TWO + b"I" + b"9" * 100_000 + b"\n.", "instruction b'I'"),
    "a name without an end": (TWO + b"c" + b"a" * 100_000, "a name without an end"),
    "many memos": (
        TWO + b"N" + b"".join(b"r" + struct.pack("<I", i) for i in range(MOST_INSTRUCTIONS)),
        "more than 1000",
    ),
    "a memo that is not there": (TWO + b"j\xff\xff\xff\xff.", "reads a memo entry that it did not write"),
    "a memo of nothing": (TWO + b"q\0.", "takes a value that is not there"),
    "values that are not there": (TWO + b"t.", "takes values that are not there"),
    "a whole file of it": (TWO + b"N" * PICKLE_BYTES, f"at most {PICKLE_BYTES} are read"),
    "nothing": (b"", "cut short"),
    "no end": (TWO + b"}", "cut short"),
    "two values": (TWO + b"}}.", "does not end where it should"),
    "an open mark": (TWO + b"(}.", "does not end where it should"),
    "no text": (TWO + b"X\2\0\0\0\xff\xfe.", "invalid text"),
}


@pytest.mark.parametrize("name", RUNNING)
def test_no_code_in_a_pickle_is_executed(name, tmp_path):
    make, message = RUNNING[name]
    path = in_zip(tmp_path / "it.ckpt", make(tmp_path))
    assert message in refused(path)
    with pytest.raises(ValueError):
        load_policy(path)
    assert not canary(tmp_path).exists()


def test_the_same_pickles_execute_code_in_pythons_reader(tmp_path):
    """With Python's own reader; otherwise the corpus would show nothing."""
    for name in ("reduce", "os.system", "eval", "unused", "a class of one's own", "inst", "obj"):
        (folder := tmp_path / name.replace(" ", "-").replace("'", "")).mkdir()
        pickle.loads(RUNNING[name][0](folder))
        assert canary(folder).exists() != (name == "unused"), name


@pytest.mark.parametrize("corpus", [BUILDING, STORING, SIZES], ids=["building", "storing", "sizes"])
def test_a_pickle_that_is_not_a_checkpoint_is_refused(corpus, tmp_path):
    for number, (name, (raw, message)) in enumerate(corpus.items()):
        assert message in refused(in_zip(tmp_path / f"{number}.ckpt", raw)), name


def test_nested_lists_are_refused(tmp_path):
    """The reader does not follow them."""
    nested = TWO + b"]" * 100_000 + b"a" * 99_999 + b"."
    assert "is not a checkpoint of Diffusion Policy" in refused(in_zip(tmp_path / "it.ckpt", nested))
    round_and_round = TWO + b"}q\0" + text("cfg") + b"h\0s" + text("state_dicts") + b"}s."
    assert "its configuration is nested more than 32 deep" in refused(in_zip(tmp_path / "circle.ckpt", round_and_round))


def test_a_configuration_of_exponential_size_is_refused(tmp_path):
    """Sixty lists, each of which occurs twice in the next: few bytes, but 2 to the power of 60 values if expanded."""
    doubled = b"](]q\0" + b"]q\1(h\0h\0eq\0" * 60 + b"e"
    raw = TWO + b"}(" + text("cfg") + doubled + text("state_dicts") + b"}u."
    assert "its configuration" in refused(in_zip(tmp_path / "it.ckpt", raw))


def test_a_value_of_exponential_size_is_not_printed(tmp_path):
    """Printing such a value in a message would never end."""
    doubled = b"](]q\0" + b"]q\1(h\0h\0eq\0" * 60 + b"e"
    assert "an invalid number of values" in refused(in_zip(tmp_path / "count.ckpt", TWO + storage(count=doubled) + b"."))
    for name in ("algo_name", "shape_metadata", "config"):
        values = {"model": b"}", "config": text("{}"), "algo_name": text("bc"), "shape_metadata": b"}"} | {name: doubled}
        raw = TWO + b"}(" + b"".join(text(key) + value for key, value in values.items()) + b"u."
        assert "its configuration" in refused(in_zip(tmp_path / f"{name}.ckpt", raw))


def test_a_text_that_occurs_thousands_of_times_is_not_printed(tmp_path):
    """Four megabytes that are sixty gigabytes if printed."""
    many = b"](" + text("x" * 4_000_000) + b"q\0" + b"h\0" * 15_000 + b"e"
    target = TWO + b"}(" + text("cfg") + b"}(" + text("policy") + b"}(" + text("_target_") + many + b"uu"
    target += text("state_dicts") + b"}u."
    values = {"model": b"}", "config": text("{}"), "algo_name": many, "shape_metadata": b"}"}
    robomimic = TWO + b"}(" + b"".join(text(key) + value for key, value in values.items()) + b"u."
    keys = TWO + b"}(" + text("cfg") + b"}(" + text("x" * 4_000_000) + b"K\1u" + text("state_dicts") + b"}u."
    for name, raw in (("target", target), ("robomimic", robomimic), ("keys", keys)):
        assert "its configuration holds more than" in refused(in_zip(tmp_path / f"{name}.ckpt", raw))


def test_deeply_nested_objects_are_refused(tmp_path):
    deep = TWO + b"cpathlib\nPath\n" + b"q\0" + b"h\0" * 50_000 + b")" + b"R\x85" * 50_000 + b"\x86."
    assert "is not a checkpoint" in refused(in_zip(tmp_path / "it.ckpt", deep))


@pytest.mark.parametrize("chain", ["${a}", "${b}", "${a.x.x}"])
def test_references_in_a_circle_are_refused(chain, tmp_path):
    config = {"policy": {"_target_": "${a}"}, "a": "${b}" if chain == "${b}" else chain, "b": "${a}"}
    raw = pickle.dumps({"cfg": config, "state_dicts": {}}, 2)
    assert "in a circle" in refused(in_zip(tmp_path / "it.ckpt", raw))


def test_an_expression_is_not_evaluated(tmp_path):
    config = {"policy": {"_target_": f"${{eval:'{run(tmp_path)}'}}"}}
    raw = pickle.dumps({"cfg": config, "state_dicts": {}}, 2)
    assert "is the expression" in refused(in_zip(tmp_path / "it.ckpt", raw))
    assert not canary(tmp_path).exists()


def test_pickles_are_not_opened(saved, tmp_path):
    """Dill's bytes in a valid checkpoint are ignored, whatever they contain."""
    content = content_of(saved("unet"))
    content["pickles"] = {"global_step": pickle.dumps(Reduces(touch(tmp_path)), 2)}
    torch.save(content, tmp_path / "other.ckpt")
    assert "does not say its task" in refused(tmp_path / "other.ckpt")
    assert not canary(tmp_path).exists()


def test_a_valid_file_truncated_or_changed_anywhere_is_refused_or_read(saved, tmp_path):
    """It is refused in one sentence or, if only a number changed, read; nothing else happens."""
    whole = saved("robomimic").read_bytes()
    rng, path = np.random.default_rng(0), tmp_path / "it.pth"
    for place in rng.integers(0, len(whole), 40):
        path.write_bytes(whole[:place])
        refused(path)
    pickled = slice(whole.index(TWO), whole.index(TWO) + 60_000)
    for _ in range(300):
        raw = bytearray(whole)
        for place in rng.integers(pickled.start, pickled.stop, rng.integers(1, 4)):
            raw[place] = rng.integers(256)
        path.write_bytes(raw)
        try:
            read_diffusion_policy(path)
        except ValueError as error:
            assert len(str(error).splitlines()) == 1
