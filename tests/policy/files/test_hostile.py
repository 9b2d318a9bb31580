"""Every kind of hostile file is refused with one sentence, without memory for what it only declares."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("hostile.py")
# For each kind, beyond what the process had before.
MOST_MEGABYTES = 100


def run(do: str, folder: Path) -> str:
    done = subprocess.run([sys.executable, SCRIPT, do, folder], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def answers(tmp_path_factory) -> dict[str, tuple[str, float]]:
    folder = tmp_path_factory.mktemp("hostile")
    run("write", folder)
    return json.loads(run("read", folder))


def test_every_hostile_file_is_refused_in_a_sentence(answers):
    assert len(answers) > 120
    for name, (answer, _) in answers.items():
        assert answer.startswith("refused: "), f"{name}: {answer}"
        assert "\n" not in answer and len(answer) < 700, f"{name}: {answer}"
        assert "/it" in answer, f"{name} does not name the file: {answer}"


def test_declared_sizes_take_no_memory(answers):
    for name, (_, peak) in answers.items():
        assert 0 <= peak < MOST_MEGABYTES, f"{name} took {peak:.0f} MB"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("config: channels 8000", "channels must be from 1 to 4096, not 8000"),
        ("config: timesteps 1e8", "num_train_timesteps must be a whole number from 1 to 10000, not 100000000"),
        ("config: a network of 17e9 weights", "does not fit its config.json: the tensor 'action_position' is missing"),
        ("config: action_low infinite", "the number -1e999 is too large"),
        ("config: action_step infinite", "the number 1e999 is too large"),
        ("config: gains infinite", "the number 1e999 is too large"),
        ("config: nested 1000 deep", "it is nested more than 32 deep"),
        ("weights: a header of 1e12 bytes", "its header should have 1000000000000 bytes"),
        ("episode: 9e5 keys", "bytes; at most 5242880 are read"),
        ("episode: as many keys as are read", "0.json is damaged; remove it to run that episode again: "),
        ("table: a text of a megabyte in 1000 rows", "has a column 'replan_seconds' that holds no numbers"),
        ("table: 8e6 equal numbers in a few kilobytes", "it claims to hold 6.4e+07 bytes"),
        ("table: compressed by what makes any number of bytes", "it is compressed by ZSTD; write it with snappy"),
        ("table: a list of 8e6 equal numbers", "it claims to hold 6.4e+07 bytes"),
        ("store: codec pickle", "the codec 'numcodecs.pickle' is not read; there are: bytes, zstd"),
        ("store: codec pickle alone", "the codec 'pickle' is not read; there are: bytes, zstd"),
        ("store: version 2", "It is a zarr 2 store."),
        ("store: 6e8 steps", "data/action: it claims to hold 1.2e+09 numbers"),
        ("store: ends of 1e12", "data/action, data/executed end before the last episode does"),
        ("store: a second frame of 1e12", "data/action/c/0/0 is damaged: more follows after its end"),
        ("store: ends whose differences wrap around", "the ends of the episodes do not increase"),
        ("store: a fill value of 1e30", "is too large"),
        ("store: a fill value of 1e400", "is too large"),
        ("store: a fill value that is not zero", "must be 0, not 1.0"),
        ("store: a chunk by another name", "chunks of data/action are missing"),
        ("store: chunks of one row and 16 million columns", "chunks of [1, 15625000] are larger than the array, of [60, 2]"),
        ("store: chunks that are mostly beyond the array", "chunks of [1, 8] do not fill the array, of [4, 9]"),
        ("store: a chunk far longer than the array", "chunks of [8388608, 2] are larger than the array, of [60, 2]"),
        ("recorded: a chunk far larger than the array", "a chunk of demo_0/actions is larger than 1048576 bytes"),
        ("store: a lost chunk", "chunks of data/action are missing"),
        ("store: a chunk damaged inside", "is damaged: data/action cannot be read"),
        ("store: a folder that is a link", "data/obs is a link or a device"),
        ("recorded: one array in 30 demonstrations", "/data/demo_3/actions is the same object as another entry"),
        ("recorded: one demonstration under 150 names", "/data/demo_2 is the same object as another entry"),
        (
            "recorded: one group of observations in two demonstrations",
            "/data/demo_1/obs is the same object as another entry",
        ),
        ("recorded: 20000 names of one array", "/data/demo_0/obs/k0 is the same object as another entry"),
        ("recorded: one mask under 2000 names", "it holds 2000 masks; at most 1000 are read"),
        ("recorded: one mask under two names", "mask/train lists 60000 names; at most 100000 are read of all masks"),
        ("recorded: a mask of 1e10 names", "mask/train lists 10000000000 names; at most 100000 are read of all"),
        ("recorded: 1.6 GB in two megabytes", "it claims to hold 1.6e+09 bytes"),
        ("recorded: a description of 1e8 characters", "the attribute 'env_args' cannot be read: damaged, or longer than"),
        (
            "recorded: a description of 1e8 characters among 300 groups with notes",
            "the attribute 'env_args' cannot be read: damaged, or longer than",
        ),
        (
            "recorded: a description that claims 3e9 characters and has 777",
            "the attribute 'env_args' cannot be read: damaged, or longer than",
        ),
        ("recorded: a mask that claims 3e9 characters and has 777", "mask/train cannot be read: damaged, or longer than"),
    ],
)
def test_the_sentence_says_what_is_wrong(answers, name, sentence):
    assert sentence in answers[name][0]
