"""The model of several devices agrees with its own terms, and its page is made from the recorded measurements."""

from pathlib import Path

import pytest

from paradp.checkpoints import find_checkpoint, read_info
from paradp.scripts.studies import scaling
from paradp.scripts.studies.published import Page
from paradp.scripts.studies.scaling_inputs import PublishedGpu
from paradp.scripts.studies.scaling_model import (
    DEVICES,
    Calls,
    Cluster,
    Link,
    NetworkTimes,
    best_plan,
    round_seconds,
    rounds_of_batch,
    transfer,
)

PROPORTIONAL = NetworkTimes(1_000_000, 1000, Calls({1: 1.0, 2: 2.0}))
FREE = Cluster(Link(0.0, 1e30), Link(0.0, 1e30), 8, 0.0, 0.0)
COSTLY = Cluster(Link(0.5, 1000.0), Link(3.0, 100.0), 8, 7.0, 0.25)


def test_times_of_calls_lie_on_lines_that_get_steeper():
    calls = Calls({1: 1.0, 20: 3.0, 50: 2.9})
    assert calls(1) == 1.0 and calls(20) == 3.0
    assert calls(10) == pytest.approx(1 + 9 * 2 / 19)
    assert calls(99) == pytest.approx(2.9 + 49 * 1.9 / 49)  # as from 1 to 50: the last line would fall
    assert Calls({1: 1.0, 2: 1.0, 4: 5.0})(6) == pytest.approx(9.0)


def test_one_device_has_no_cost_of_transfer_or_launch():
    assert round_seconds(PROPORTIONAL, COSTLY, 1, 10) == 10.0
    # One row uses one device, however many there are.
    assert round_seconds(PROPORTIONAL, COSTLY, 8, 1) == 1.0


def test_a_round_on_several_devices_costs_its_largest_share_plus_transfers():
    # 10 rows on 4 devices: 3 at most; 7.5 of 10 rows leave; two messages; four launches.
    assert transfer(PROPORTIONAL, COSTLY, 4, 10) == pytest.approx(2 * 0.5 + 7.5)
    assert round_seconds(PROPORTIONAL, COSTLY, 4, 10) == pytest.approx(3.0 + 8.5 + 7.0 + 4 * 0.25)


def test_rows_for_other_machines_use_the_slower_link():
    # 32 rows on 16 devices: 7 of them beside the first, 8 in another machine.
    inside, outside = 2 * 0.5 + 1000 * 32 * 7 / 16 / 1000, 2 * 3.0 + 1000 * 32 * 8 / 16 / 100
    assert transfer(PROPORTIONAL, COSTLY, 16, 32) == pytest.approx(inside + outside)


def test_without_costs_the_gain_is_limited_by_rows_and_windows_widen():
    rounds = {1: [100], 20: [9], 100: [6]}
    plans = [best_plan(PROPORTIONAL, FREE, rounds, 0.0, 1, devices) for devices in (1, 20, 100)]
    assert [plan.window for plan in plans] == [1, 20, 100]
    assert [plan.seconds for plan in plans] == pytest.approx([100.0, 9.0, 6.0])
    assert [plan.share for plan in plans] == [1, 1, 1]


def test_a_batch_takes_as_long_as_its_slowest_row():
    assert rounds_of_batch([5, 7], 1) == pytest.approx(6.0)
    assert rounds_of_batch([5, 7], 2) == pytest.approx(6.5)  # 5 and 5 one time in four
    assert rounds_of_batch([4], 8) == 4.0


def test_the_smallest_number_of_devices_with_the_largest_gain_is_named():
    plans = [best_plan(PROPORTIONAL, FREE, {4: [1]}, 0.0, 1, devices) for devices in DEVICES]
    assert scaling.largest_gain(plans) == (4.0, 4)


def test_the_page_is_marked_as_a_prediction_and_its_picture_is_drawn_from_it(tmp_path):
    published = PublishedGpu.read(Path("docs/results/gpu"), read_info(find_checkpoint("square")).spec)
    assert [round(network.parameters / 1e6) for network in published.networks] == [5, 64, 249]
    assert all(sorted(network.calls.seconds) == [1, 20, 50] for network in published.networks)
    rounds = {100: {1: [100], 20: [8, 9], 50: [6, 7]}, 20: {1: [20], 6: [6, 7]}}
    local = scaling.ThisMachine("a processor", "eager", [PROPORTIONAL], 1e-5, 5e9)
    page = tmp_path / "scaling.md"
    page.write_text(f"# Title\n{scaling._body('square', published, local, rounds)}")
    assert "**A prediction: no machine with several GPUs was at hand.**" in page.read_text()
    gains = Page(page).table(*scaling.GAIN_HEADER)
    assert len(gains) == 2 * 2 * (3 * 2 + 1)
    assert {row["1"] for row in gains} == {"1.00"}
    counted, free = ([row for row in gains if row["launches"] == kind] for kind in (scaling.COUNTED, scaling.FREE))
    for one, bound in zip(counted, free, strict=True):
        assert all(float(one[str(n)]) <= float(bound[str(n)]) for n in DEVICES)
    scaling.draw_scaling(page)
    assert page.with_suffix(".png").stat().st_size > 10_000


def test_without_recorded_calls_the_error_names_their_place(tmp_path):
    with pytest.raises(ValueError, match=r"calls.json is missing; it lies in docs/results/gpu: use --out docs/results"):
        PublishedGpu.read(tmp_path / "gpu", read_info(find_checkpoint("square")).spec)
