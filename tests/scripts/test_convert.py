"""`paradp convert`: from LeRobot's format to ours and back."""

import pytest
from lerobot_fixtures import PUSHT, for_pusht

from paradp.checkpoints import read_card, read_info

FLAGS = """--task pusht --control-hz 10 --action-low 0 0 --action-high 512 512 --action-convention position
    --controller kp=100 kv=20 --observation observation.state=agent_pos:2 observation.environment_state=block_keypoints:16
    --action goal_xy:2"""


@pytest.fixture
def convert(paradp, monkeypatch, tmp_path):
    """Runs the command; returns what it prints, or its error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, refused: bool = False) -> str:
        code, out, err = paradp("convert", *arguments)
        assert code == (2 if refused else 0), err
        return err if refused else out

    return run


def test_options_have_the_same_effect_as_the_file_beside_a_checkpoint(convert, tmp_path):
    theirs = for_pusht(tmp_path / "theirs")
    said = convert("theirs", "--out", "ours", refused=True)
    assert said.count("\n") == 1 and "does not say its task, control_hz, action_low" in said and "`paradp convert`" in said
    assert not (tmp_path / "ours").exists()
    convert("theirs", "--out", "by-options", *FLAGS.split())
    (theirs / "paradp.yaml").write_text(PUSHT)
    said = convert("theirs", "--out", "by-file")
    assert said.endswith("theirs → by-file, in the format of paradp\n")
    spec = read_info(tmp_path / "by-file").spec
    assert read_info(tmp_path / "by-options") == read_info(tmp_path / "by-file")
    assert spec.task == "pusht" and spec.observation == {"agent_pos": 2, "block_keypoints": 16}
    assert "Converted from theirs by `paradp convert`" in read_card(tmp_path / "by-file")
    # What is typed wins over what is written.
    convert("theirs", "--out", "faster", "--control-hz", 20)
    assert read_info(tmp_path / "faster").spec.control_hz == 20


def test_a_policy_is_converted_there_and_back(convert, tmp_path):
    convert("pusht", "--to", "lerobot", "--out", "theirs", "--sampler", "ddim-10")
    convert("theirs", "--out", "ours")
    convert("ours", "--to", "lerobot", "--out", "again", "--sampler", "ddim-10")
    for name in ("model.safetensors", "config.json", "paradp.yaml", "policy_preprocessor.json"):
        assert (tmp_path / "theirs" / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name
    for path in (tmp_path / "theirs").glob("policy_*.safetensors"):
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()
    # An older form becomes the newer one.
    convert("theirs", "--to", "lerobot", "--out", "anew")
    assert (tmp_path / "anew/model.safetensors").read_bytes() == (tmp_path / "theirs/model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("pusht --out ours", "is a checkpoint of paradp already; --to lerobot makes LeRobot's of it"),
        ("pusht --to lerobot --out theirs --task lift", "which contains this information: leave out task"),
        ("pusht --to lerobot --out theirs --sampler para-ddpm", "LeRobot samples by ddpm, ddpm-N:spacing=leading or ddim-N"),
        ("nothing --out ours", "no checkpoint 'nothing'"),
        ("pusht --to lerobot --out full", "full exists; choose another --out or remove it"),
        (
            "pusht --to lerobot --out theirs --observation observation.state=goal:2",
            "this one sees, in this order, agent_pos",
        ),
    ],
)
def test_an_error_is_one_sentence_and_leaves_no_files(convert, tmp_path, arguments, said):
    (tmp_path / "full").mkdir()
    found = convert(*arguments.split(), refused=True)
    assert said in found and found.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["full"]
