"""The study of a policy trained by LeRobot: the content of its page, without LeRobot."""

import json

import pytest
from lerobot_fixtures import for_pusht

from paradp.scripts.studies import bridges
from paradp.scripts.studies.bridges import ENGINE, LEROBOT, PLACE, ClosedEpisodes, Timed
from paradp.scripts.studies.context import Context

FACTS = "task: pusht\ncontrol_hz: 10\naction_low: [0, 0]\naction_high: [512, 512]\nobservation:\n"
FACTS += "  observation.state: {agent_pos: 2}\n  observation.environment_state: {block_keypoints: 16}\n"


class Peer:
    """Instead of a process with LeRobot: every second episode succeeds."""

    def __init__(self):
        self.asked = []

    def episodes(self, way, seeds):
        self.asked.append((way, list(seeds)))
        return [{"seed": seed, "reward": 0.5 + 0.5 * (seed % 2), "success": seed % 2 == 1, "first": []} for seed in seeds]


@pytest.fixture
def runs(tmp_path):
    (for_pusht(tmp_path / "checkpoint") / "paradp.yaml").write_text(FACTS)
    return tmp_path


def test_what_it_needs_is_said(tmp_path, runs):
    for context in (Context("pusht", tmp_path, runs), Context("pusht", tmp_path, tmp_path / "none", lerobot_python=runs)):
        with pytest.raises(ValueError, match=r"a policy that LeRobot trained is needed in .*, and with --lerobot-python"):
            bridges.study_bridges(context)
    with pytest.raises(ValueError, match="is a policy for pusht, but the study is of lift"):
        bridges._job("lift", runs / "checkpoint")


def test_lerobots_half_is_told_what_stands_in_its_features(runs):
    job = bridges._job("pusht", runs / "checkpoint")
    assert job["observation"] == {"observation.state": ["agent_pos"], "observation.environment_state": ["block_keypoints"]}
    assert job["steps"] == 300


def test_the_training_is_as_lerobot_wrote_it_down(tmp_path):
    assert bridges._trained(tmp_path) == "no record of the training"
    (tmp_path / "train_config.json").write_text('{"steps": 7000, "batch_size": 64, "optimizer": {"lr": 0.0005}}')
    assert bridges._trained(tmp_path) == "7000 steps of batch 64, learning rate 0.0005"


def test_finished_episodes_are_not_run_again(tmp_path):
    peer = Peer()
    for count in (4, 6):
        closed = bridges._theirs(peer, tmp_path, "ddim-10", range(10, 10 + count), 2)
    assert peer.asked == [("ddim-10", [10, 11]), ("ddim-10", [12, 13]), ("ddim-10", [14, 15])]
    assert closed == ClosedEpisodes({i: i % 2 == 1 for i in range(10, 16)}, {i: 0.5 + 0.5 * (i % 2) for i in range(10, 16)})
    assert len(json.loads((tmp_path / "lerobot-ddim-10.json").read_text())) == 6


def test_episodes_are_compared_with_lerobots_own_on_the_same_seeds():
    seeds = range(100)
    base = ClosedEpisodes({i: i < 80 for i in seeds}, {i: float(i < 80) for i in seeds})
    other = ClosedEpisodes({i: i < 75 for i in seeds}, {i: 0.5 * (i < 75) for i in seeds})
    page = bridges._episodes_page({(ENGINE, "ddpm"): other, (LEROBOT, "ddpm"): base}, seeds, 25)
    first, second = page.splitlines()[-2:]
    assert first.startswith("| LeRobot | `ddpm` | 0.800 (") and first.endswith("| baseline | baseline |")
    assert second.startswith("| paradp | `ddpm` | 0.750 (") and "| +0.050 (" in second and "| -0.425 (" in second


def test_latencies_are_divided_turn_by_turn():
    timed = {
        (LEROBOT, "ddpm"): Timed([1.0, 2.0, 3.0]),
        (LEROBOT, "ddim-10"): Timed([0.1, 0.2, 0.3]),
        (PLACE, "auto"): Timed([0.5, 0.5, 0.5], [10.0, 20.0]),
        (ENGINE, "ddpm"): Timed([0.25, 0.25, 0.25], [100.0]),
    }
    rows = bridges._latency_page(timed, 3, 6).splitlines()[-4:]
    assert rows[0] == "| LeRobot | `ddpm` |  | 2000.0 | 1.00 (1.00–1.00) | 0.10 (0.10–0.10) |"
    assert rows[2].endswith("| `auto` | 15.0 | 500.0 | 4.00 (2.00–6.00) | 0.40 (0.20–0.60) |")
    assert rows[3] == "| paradp | `ddpm` | 100.0 | 250.0 | 8.00 (4.00–12.00) | 0.80 (0.40–1.20) |"
    ways = {"a": 1, "b": 2, "c": 3}
    assert [list(bridges._turned(ways, turn)) for turn in (0, 1)] == [
        [("a", 1), ("b", 2), ("c", 3)],
        [("b", 2), ("c", 3), ("a", 1)],
    ]
