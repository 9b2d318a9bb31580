"""Which action of which chunk is executed when chunks come late."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paradp.policy.control.chunks import ChunkQueue

LENGTH = 15


def ahead(execute: int) -> ChunkQueue:
    return ChunkQueue(execute, ahead=True, at_the_end="continue-chunk")


def drive(queue: ChunkQueue, lateness: int, steps: int) -> list[tuple[int, int] | None]:
    """Per control step, from which step's observation the action was planned and its index in the chunk; `None` for none."""
    done: list[tuple[int, int] | None] = []
    asked = None
    for step in range(steps):
        if queue.wants_chunk:
            queue.ask()
            asked = step
        if asked is not None and step - asked == lateness:
            assert queue.give(np.array([(asked, i) for i in range(LENGTH)])) == lateness
            asked = None
        action = queue.next()
        done.append(None if action is None else (int(action[0]), int(action[1])))
    return done


def test_without_lateness_every_chunk_begins_at_its_planned_step():
    for queue in (ChunkQueue(8, ahead=False), ahead(8)):
        done = drive(queue, 0, 24)
        assert done == [(start, i) for start in (0, 8, 16) for i in range(8)]


def test_a_synchronous_robot_waits_and_then_executes_the_chunk_from_its_first_action():
    done = drive(ChunkQueue(8, ahead=False), 3, 22)
    expected = [None] * 3 + [(0, i) for i in range(8)] + [None] * 3 + [(11, i) for i in range(8)]
    assert done == expected


@pytest.mark.parametrize("lateness", [1, 4, 7])
def test_with_plans_requested_ahead_nothing_waits_and_executed_actions_are_skipped(lateness):
    done = drive(ahead(8), lateness, 60)
    # The first chunk finds a robot that held still.
    assert done[:lateness] == [None] * lateness and None not in done[lateness:]
    assert done[lateness] == (0, 0)
    joins = [i for i in range(lateness + 1, 60) if done[i][0] != done[i - 1][0]]
    assert joins and np.diff(joins).tolist() == [8] * (len(joins) - 1)
    for i in joins:
        planned, index = done[i]
        # Planned from the observation of step i − lateness, and so many actions later it is executed.
        assert (planned, index) == (i - lateness, lateness)


@pytest.mark.parametrize("lateness", [8, 14, 20])
def test_with_plans_requested_ahead_a_robot_without_actions_holds_and_skips_only_executed_ones(lateness):
    done = drive(ahead(8), lateness, 200)
    for i in range(1, 200):
        if done[i] is None or (done[i - 1] is not None and done[i][0] == done[i - 1][0]):
            continue
        planned, index = done[i]
        executed = sum(action is not None for action in done[planned:i])
        assert index == executed and i - planned >= lateness


def test_a_chunk_that_lies_entirely_in_the_past_has_no_actions_to_execute():
    queue = ahead(2)
    queue.ask()
    queue.give(np.arange(5)[:, None])
    queue.next()
    queue.next()
    queue.ask()
    assert [int(queue.next()[0]) for _ in range(2)] == [2, 3]
    queue.give(np.array([[7], [8]]))
    assert queue.next() is None and queue.wants_chunk


@pytest.mark.parametrize("execute", [1, 4, 8, 10, 12, 15])
@pytest.mark.parametrize("lateness", [0, 1, 2, 3, 5, 7])
def test_with_plans_requested_ahead_nothing_waits_if_chunks_are_long_enough(execute, lateness):
    # After a late join K − lateness actions are left, and the next chunk is again so late.
    assert 2 * lateness <= LENGTH
    done = drive(ahead(execute), lateness, 120)
    assert None not in done[lateness:]


@pytest.mark.parametrize("lateness", [1, 4, 7])
def test_a_robot_that_may_not_continue_its_chunk_holds_after_its_planned_actions(lateness):
    """The second chunk is requested as if it were in time, but it is late."""
    queue = ChunkQueue(8, ahead=True)
    queue.ask()
    queue.give(np.arange(LENGTH)[:, None])
    assert [int(queue.next()[0]) for _ in range(8)] == list(range(8)) and queue.wants_chunk
    queue.ask()
    for _ in range(lateness):
        assert queue.overdue and queue.next() is None
    assert queue.give(np.arange(LENGTH)[:, None]) == lateness and not queue.overdue
    assert int(queue.next()[0]) == 0


def test_the_next_chunk_is_requested_early_enough_for_the_latest_of_the_last_ones():
    queue, asked, overdue = ahead(8), None, []
    lateness = iter([1, 2] * 40)
    for step in range(200):
        if queue.wants_chunk:
            queue.ask()
            asked, late = step, next(lateness)
        if asked is not None and step - asked == late:
            queue.give(np.arange(LENGTH)[:, None])
            asked = None
        overdue.append(queue.overdue)
        queue.next()
    # The first late one could not be foreseen.
    assert sum(overdue) == 1 and queue.expected_lateness == 2


def test_an_action_that_was_not_executed_comes_next_again():
    queue = ahead(8)
    queue.ask()
    queue.give(np.arange(LENGTH)[:, None])
    assert [int(queue.next()[0]) for _ in range(3)] == [0, 1, 2]
    queue.take_back()
    queue.take_back()  # there is one to take back, and no more
    assert queue.consumed == 2 and [int(queue.next()[0]) for _ in range(6)] == [2, 3, 4, 5, 6, 7]
    # A chunk is joined by what was consumed, not by what was sent.
    queue.ask()
    queue.next()
    queue.take_back()
    queue.next()
    assert queue.give(np.arange(LENGTH)[:, None]) == 2 and int(queue.next()[0]) == 1


def test_a_cancelled_chunk_can_be_requested_again():
    queue = ahead(8)
    queue.ask()
    assert not queue.wants_chunk
    queue.forget()
    assert queue.wants_chunk


def test_a_late_chunk_is_used_up_sooner_and_the_next_is_then_due():
    queue, chunk = ahead(8), np.arange(LENGTH)[:, None]
    queue.ask()
    queue.give(chunk)
    for left in (8, 7):
        # Plans that take eight control steps: once they are known to, they are asked for at once.
        if not queue.wants_chunk:
            assert [queue.next() is not None for _ in range(8)] == [True] * 8
        queue.ask()
        for _ in range(8):
            queue.next()
        assert queue.give(chunk) == 8 and queue.left == left
    queue.ask()
    assert [queue.overdue for _ in range(8) if queue.next() is not None] == [False] * 6 + [True]


CONTROL_STEP = st.tuples(
    st.sampled_from(["executed", "executed", "executed", "not executed"]), st.sampled_from(["wait", "wait", "forget"])
)


@given(
    execute=st.integers(1, LENGTH),
    is_ahead=st.booleans(),
    at_the_end=st.sampled_from(["hold", "continue-chunk"]),
    latenesses=st.lists(st.integers(0, 2 * LENGTH), min_size=1, max_size=6),
    steps=st.lists(CONTROL_STEP, min_size=40, max_size=120),
)
def test_the_executed_action_always_belongs_to_the_current_step(execute, is_ahead, at_the_end, latenesses, steps):
    queue = ChunkQueue(execute, is_ahead, at_the_end)
    executed = 0
    asked = running = None  # (step, executed then, lateness)
    since_join, asked_for = 0, 0
    for step, (fate, patience) in enumerate(steps):
        if asked is not None and patience == "forget":
            queue.forget()
            asked = None
        spent = running is None or executed - running[1] >= LENGTH or since_join >= execute
        if spent or not is_ahead:
            assert queue.wants_chunk == (spent and asked is None)
        if queue.wants_chunk:
            assert asked is None
            queue.ask()
            asked = step, executed, latenesses[asked_for % len(latenesses)]
            asked_for += 1
        if asked is not None and step - asked[0] >= asked[2]:
            assert queue.give(np.array([(asked[0], i) for i in range(LENGTH)])) == step - asked[0]
            running, asked, since_join = asked, None, 0
        action = queue.next()
        if action is None:
            # A robot holds still only before its first chunk, and where the present one is used up.
            assert running is None or executed - running[1] >= LENGTH or since_join >= execute
            continue
        # Its number within the chunk is how many actions the robot has executed since the chunk's observation.
        assert running is not None and action.tolist() == [running[0], executed - running[1]]
        assert at_the_end == "continue-chunk" or since_join < execute
        if fate == "not executed":
            queue.take_back()
        else:
            executed, since_join = executed + 1, since_join + 1
        assert queue.consumed == executed
