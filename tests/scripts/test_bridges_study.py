"""The study of a policy trained by LeRobot: the content of its page, without LeRobot."""

import json
import sys
import threading

import pytest
from lerobot_fixtures import for_pusht

from paradp.scripts.studies import bridges
from paradp.scripts.studies.bridges import ENGINE, LEROBOT, PLACE, Timed
from paradp.scripts.studies.context import Context
from paradp.scripts.studies.lerobot_episodes import ClosedEpisodes, their_episodes

FACTS = (
    "task: pusht\ncontrol_hz: 10\naction_low: [0, 0]\naction_high: [512, 512]\naction_convention: position\nobservation:\n"
)
FACTS += "  observation.state: {agent_pos: 2}\n  observation.environment_state: {block_keypoints: 16}\n"


class Peer:
    """A substitute for processes with LeRobot: every second episode succeeds."""

    def __init__(self):
        self.asked, self.started = [], 0

    def __enter__(self):
        self.started += 1
        return self

    def __exit__(self, *error):
        pass

    def episodes(self, way, seeds):
        self.asked.append((way, list(seeds)))
        return [{"seed": seed, "reward": 0.5 + 0.5 * (seed % 2), "success": seed % 2 == 1, "first": []} for seed in seeds]


@pytest.fixture
def runs(tmp_path):
    (for_pusht(tmp_path / "checkpoint") / "paradp.yaml").write_text(FACTS)
    return tmp_path


def test_an_error_names_what_the_study_needs(tmp_path, runs):
    for context in (Context("pusht", tmp_path, runs), Context("pusht", tmp_path, tmp_path / "none", lerobot_python=runs)):
        with pytest.raises(ValueError, match=r"a policy that LeRobot trained is needed in .*, and with --lerobot-python"):
            bridges.study_bridges(context)
    with pytest.raises(ValueError, match="is a policy for pusht, but the study is of lift"):
        bridges.job("lift", runs / "checkpoint")


def test_lerobots_process_gets_the_names_of_features(runs):
    job = bridges.job("pusht", runs / "checkpoint")
    assert job["observation"] == {"observation.state": ["agent_pos"], "observation.environment_state": ["block_keypoints"]}
    assert job["simulator"] == {"task": "pusht", "python": sys.executable, "action_convention": "position"}


def test_there_is_a_page_for_each_task():
    assert [bridges.page_name(task) for task in ("pusht", "square")] == ["bridges.md", "bridges-square.md"]


def test_the_training_is_described_as_in_lerobots_files(tmp_path):
    assert bridges._trained(tmp_path) == "no record of the training"
    (tmp_path / "train_config.json").write_text('{"steps": 7000, "batch_size": 64, "optimizer": {"lr": 0.0005}}')
    assert bridges._trained(tmp_path) == "7000 steps of batch 64, learning rate 0.0005"


def test_finished_episodes_are_not_run_again(tmp_path):
    peer = Peer()
    for count in (4, 6, 6):
        found = their_episodes(lambda: peer, 1, tmp_path, ("ddpm", "ddim-10"), range(10, 10 + count), 2)
    groups = [(way, group) for group in ([10, 11], [12, 13], [14, 15]) for way in ("ddpm", "ddim-10")]
    assert peer.asked == groups and peer.started == 2
    wanted = ClosedEpisodes({i: i % 2 == 1 for i in range(10, 16)}, {i: 0.5 + 0.5 * (i % 2) for i in range(10, 16)})
    assert found == {"ddpm": wanted, "ddim-10": wanted}
    assert len(json.loads((tmp_path / "lerobot-ddim-10.json").read_text())) == 6


def test_several_processes_of_lerobot_run_in_parallel(tmp_path):
    together, peers = threading.Barrier(2, timeout=20), []

    class Waiting(Peer):
        def episodes(self, way, seeds):
            together.wait()
            return super().episodes(way, seeds)

    def start():
        peers.append(Waiting())
        return peers[-1]

    found = their_episodes(start, 2, tmp_path, ("ddpm",), range(8), 2)
    assert len(peers) == 2 and all(len(peer.asked) == 2 for peer in peers)
    assert list(found["ddpm"].success) == list(range(8))


def test_finished_episodes_are_kept_when_a_process_dies(tmp_path):
    class Dying(Peer):
        def episodes(self, way, seeds):
            if seeds[0] == 4:
                raise ValueError("LeRobot's half ended with code 1")
            return super().episodes(way, seeds)

    with pytest.raises(ValueError, match="ended with code 1"):
        their_episodes(Dying, 1, tmp_path, ("ddpm",), range(8), 2)
    assert [row["seed"] for row in json.loads((tmp_path / "lerobot-ddpm.json").read_text())] == [0, 1, 2, 3]


def test_episodes_are_compared_with_lerobots_own_on_the_same_seeds():
    seeds = range(100)
    base = ClosedEpisodes({i: i < 80 for i in seeds}, {i: float(i < 80) for i in seeds})
    other = ClosedEpisodes({i: i < 75 for i in seeds}, {i: 0.5 * (i < 75) for i in seeds})
    page = bridges._episodes_page({(ENGINE, "ddpm"): other, (LEROBOT, "ddpm"): base}, seeds, 25)
    first, second = page.splitlines()[-2:]
    assert first.startswith("| LeRobot | `ddpm` | 0.800 (") and first.endswith("| baseline | baseline |")
    assert second.startswith("| paradp | `ddpm` | 0.750 (") and "| +0.050 (" in second and "| -0.425 (" in second


def test_a_reward_equal_to_success_has_no_columns():
    """If all episodes succeed, its bootstrap interval is empty, but Wilson's interval of the success is not."""
    seeds = range(100)
    all_of_them = ClosedEpisodes(dict.fromkeys(seeds, True), dict.fromkeys(seeds, 1.0))
    page = bridges._episodes_page({(ENGINE, "ddpm"): all_of_them, (LEROBOT, "ddpm"): all_of_them}, seeds, 25)
    assert "reward" not in page
    assert page.splitlines()[-2] == "| LeRobot | `ddpm` | 1.000 (0.963–1.000) | baseline |"


def test_ratios_of_latencies_are_formed_within_a_turn():
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
