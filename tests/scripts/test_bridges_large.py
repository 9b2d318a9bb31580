"""The study of LeRobot's default network, without LeRobot: rows of rounds, and times of plans."""

import pytest
from lerobot_fixtures import PUSHT, for_pusht

from paradp.checkpoints import load_policy
from paradp.policy.networks.building import build_network
from paradp.policy.networks.widening import widened_spec
from paradp.scripts.studies import bridges_large
from paradp.scripts.studies.bridges_large import LargeCalls, rows_of, seconds_of
from paradp.scripts.studies.context import Context


def test_the_study_needs_a_policy_that_lerobot_trained(tmp_path):
    with pytest.raises(ValueError, match="a policy that LeRobot trained is needed"):
        bridges_large.study_bridges_large(Context("pusht", tmp_path, tmp_path))


def test_the_small_policy_must_be_a_fraction_of_the_default():
    assert bridges_large._factor((64, 128, 256)) == 8
    with pytest.raises(ValueError, match=r"must be a fraction of \(512, 1024, 2048\), and they are \(16, 24\)"):
        bridges_large._factor((16, 24))


def test_rows_of_every_call_are_recorded(tmp_path):
    (for_pusht(tmp_path / "checkpoint") / "paradp.yaml").write_text(PUSHT)
    policy = load_policy(tmp_path / "checkpoint", "ddpm", engine="eager")
    assert rows_of(policy, "ddim-10", 2) == [[1] * 10] * 2
    for plan in rows_of(policy, "speculative-ddpm:window=4", 2):
        assert plan[0] == 4 and 1 <= min(plan) <= max(plan) == 4 and sum(plan) >= 100 > len(plan)


def test_a_plans_time_is_the_sum_of_its_calls():
    assert seconds_of([[1, 4, 2], [1, 1, 1]], {1: 1.0, 4: 4.0}) == pytest.approx((7 + 3) / 2)
    assert seconds_of([[3]], {1: 0.0, 4: 3.0}) == pytest.approx(2.0)


def test_ratios_are_formed_within_a_turn():
    recorded = {name: [[1] * 10] for name in bridges_large.SEQUENTIAL} | {"ddpm": [[1] * 100]}
    recorded["speculative-ddpm:window=4"] = [[4] * 30]
    twice = {"fp32": [1.0, 1.0], "bf16": [0.5, 0.5]}
    ours = {"fp32": [{1: 0.1}, {1: 0.1}], "bf16": [{1: 0.05}, {1: 0.05}]}
    alone = LargeCalls([{1: 1.0}, {1: 2.0}], [{1: 0.5}, {1: 0.5}], ours, twice)
    only_ours = LargeCalls([{1: 1.0}, {1: 2.0}], [{}, {}], {"fp32": [{2: 0.1}, {2: 0.1}], "bf16": [{}, {}]}, twice)
    recorded["speculative-ddpm:window=2"] = [[2] * 50]
    place = [{1: 1.0, 2: 1.5, 4: 2.0}, {1: 2.0, 2: 2.0, 4: 2.0}]
    window = LargeCalls([{1: 1.0}, {1: 2.0}], place, {"fp32": [{4: 0.3}, {4: 0.3}], "bf16": [{}, {}]}, twice)
    rows = bridges_large._page(recorded, {1: alone, 2: only_ours, 4: window}, 2).splitlines()
    assert "| LeRobot | `ddpm` | 100.0 | 1.0 | 150.00 | 1.00 (1.00–1.00) | 0.10 (0.10–0.10) |" in rows
    assert "| paradp | `ddpm` | 100.0 | 1.0 | 11.00 | 13.64 (9.09–18.18) | 1.36 (0.91–1.82) |" in rows
    assert "| paradp, bf16 | `ddpm` | 100.0 | 1.0 | 5.50 | 27.27 (18.18–36.36) | 2.73 (1.82–3.64) |" in rows
    assert rows[-2].startswith(
        "| LeRobot's policy, `parallelize` | `speculative-ddpm:window=4` | 30.0 | 4.0 | 60.00 | 2.50 (1.67–3.33) |"
    )
    assert rows[-1].startswith("| paradp | `speculative-ddpm:window=4` | 30.0 | 4.0 | 10.00 | 15.00 (10.00–20.00) |")
    assert bridges_large._calls_row(4, window) == ["4", "", "2000", "300", ""]
    assert bridges_large._calls_row(2, only_ours) == ["2", "", "", "100", ""]


class Peer:
    """A substitute for a process with LeRobot: a call takes a second, and a tenth more for every further row."""

    def __init__(self, parameters, window):
        self.made = {"parameters": parameters, "window": window}

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def large(self, channels):
        return self.made

    def calls(self, rows, count, in_place=False):
        return [(0.4 if in_place else 0.9) + 0.1 * n for n in rows]


def test_the_page_has_the_window_that_parallelize_chooses(tmp_path, monkeypatch):
    folder = for_pusht(tmp_path / "checkpoint")
    (folder / "paradp.yaml").write_text(PUSHT)
    small = load_policy(folder, "ddpm", engine="eager")
    channels = tuple(2 * size for size in small.spec.network.channels)
    parameters = sum(one.numel() for one in build_network(widened_spec(small.spec, 2)).parameters())
    monkeypatch.setattr(bridges_large, "DEFAULT", channels)
    for found in (parameters, 7):
        monkeypatch.setattr(bridges_large, "LeRobotPeer", lambda python, job, found=found: Peer(found, 12))
        context = Context("pusht", tmp_path / "out", tmp_path, lerobot_python=tmp_path)
        if found == 7:
            with pytest.raises(ValueError, match="LeRobot's network has 7 parameters, and ours"):
                bridges_large.study_bridges_large(context, 1, 1, 1)
            continue
        bridges_large.study_bridges_large(context, 2, 2, 1)
    page = (tmp_path / "out/bridges-large.md").read_text()
    assert "`parallelize` chooses a window of 12" in page and f"channels: {parameters / 1e6:.1f} million" in page
    for who, windows in (("LeRobot's policy, `parallelize`", (8, 12, 20, 50)), ("paradp", (2, 4, 8))):
        found = [line for line in page.splitlines() if line.startswith(f"| {who} | `speculative")]
        assert [int(line.partition("window=")[2].partition("`")[0]) for line in found] == list(windows)
    assert "| LeRobot | `ddim-10` | 10.0 | 1.0 | 10.00 | 10.00 (10.00–10.00) | 1.00 (1.00–1.00) |" in page
