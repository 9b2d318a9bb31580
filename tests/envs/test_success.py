"""The success rules that read arrays decide like robosuite's own."""

import gymnasium
import numpy as np
import pytest

from paradp.envs import TASKS, RobosuiteTask, find_task
from paradp.envs.success import by_robosuite

# Where the first object is put, beside what decides: metres, or radians of the door's hinge.
AROUND = {
    "square": ([0.23, 0.10, 0.865], [0.04, 0.04, 0.03]),
    "lift": ([0.0, 0.0, 0.84], [0.1, 0.1, 0.02]),
    "can": ([0.145, 0.33, 0.88], [0.15, 0.18, 0.1]),
    "two-arm-lift": ([0.0, 0.0, 0.97], [0.1, 0.1, 0.02]),
}


@pytest.fixture(params=[name for name, entry in TASKS.items() if isinstance(entry.task, RobosuiteTask)])
def env(request):
    env = gymnasium.make(find_task(request.param).task.env_id).unwrapped
    env.reset(seed=0)
    yield env
    env.close()


def scatter(env, rng):
    """Places the objects of the rule at random near its limits."""
    data, model = env._sim.data, env._sim.model
    if env.task.name == "door":
        data.qpos[env._robosuite.hinge_qpos_addr] = rng.uniform(0.25, 0.35)
        return
    bodies = list(env._bodies.values())
    place = model.jnt_qposadr[model.body_jntadr[bodies[0]]]
    if env.task.name == "stack":
        # One on the other, a hair apart or into each other; on the table or lifted; now and then between the fingers.
        other = model.jnt_qposadr[model.body_jntadr[bodies[1]]]
        height = rng.choice([0.82, 0.83, 0.84, 0.85])
        data.qpos[other : other + 3] = [*rng.uniform(-0.05, 0.05, 2), height]
        offset = [*rng.uniform(-0.03, 0.03, 2), rng.uniform(0.04, 0.048)]
        data.qpos[place : place + 3] = data.qpos[other : other + 3] + offset
        if rng.random() < 0.4:
            hand = env._grip_position
            data.qpos[place : place + 7] = [*hand, 1, 0, 0, 0]
            data.qpos[other : other + 3] = hand - [0, 0, rng.uniform(0.038, 0.046)]
            data.qpos[env._sim.model.get_joint_qpos_addr("gripper0_right_finger_joint1")] = rng.uniform(0.015, 0.025)
            data.qpos[env._sim.model.get_joint_qpos_addr("gripper0_right_finger_joint2")] = -rng.uniform(0.015, 0.025)
        return
    if env.task.name == "tool-hang":
        scatter_tool(env, rng)
        return
    centre, reach = AROUND[env.task.name]
    if rng.random() < 0.3:  # at the hand, or a little off it
        centre, reach = env._grip_position, [0.05, 0.05, 0.05]
    data.qpos[place : place + 3] = centre + np.array(reach) * rng.uniform(-1, 1, 3)


def scatter_tool(env, rng):
    """The rod near the bottom of its hole, the ring about the frame's arm; now and then the tool between the fingers."""
    data, model = env._sim.data, env._sim.model
    stand, frame, tool = (data.qpos[model.jnt_qposadr[model.body_jntadr[body]] :][:7] for body in env._bodies.values())
    stand[:] = [-0.08, 0, 0.881, 1, 0, 0, 0]
    # The arm points along x; the rod stands at x = −0.08, y = 0.045.
    frame[:] = [-0.08 + 0.04375, 0.045, rng.uniform(0.943, 0.966), 0, 0, 0, 1]
    frame[:2] += rng.uniform(-0.003, 0.003, 2)
    # The handle hangs down from the ring, whose inside touches the arm's top, or nearly.
    inwards, aside, below = rng.uniform([-0.002, -0.004, 0.004], [0.03, 0.004, 0.008])
    ring = frame[:3] + np.array([0.0475 - inwards, aside, 0.08625 - below])
    tool[:] = [*(ring - [0, 0, 0.09354]), np.sqrt(0.5), 0, np.sqrt(0.5), 0]
    if rng.random() < 0.3:
        for thing in (stand, frame, tool):
            thing[:3] += env._grip_position - tool[:3] + rng.uniform(-0.03, 0.03, 3)


def move_hand_to_object(env):
    """Moves the hand above the bin or the peg, so that only its distance decides."""
    data, body = env._sim.data, next(iter(env._bodies.values()))
    data.site_xpos[env._robosuite.robots[0].eef_site_id["right"]] = data.body_xpos[body] + [0, 0, 0.0424]


def test_the_rules_equal_robosuites_near_their_borders(env):
    assert env.task.success is not by_robosuite
    rng, decisions = np.random.default_rng(1), []
    for i in range(600):
        scatter(env, rng)
        env._sim.forward()
        if i % 5 == 0 and env.task.name in ("square", "can"):
            move_hand_to_object(env)
            env._grip_position[2] += rng.uniform(-0.001, 0.001)
        decisions.append(env._simulator.succeeds())
        assert decisions[-1] == bool(env._robosuite._check_success())
    assert 20 < sum(decisions) < 580


def test_a_held_cube_is_not_stacked():
    """This case must occur above: both pads touch the lifted cube, which touches the other cube."""
    env = gymnasium.make("paradp/Stack-v0").unwrapped
    env.reset(seed=0)
    rng, held = np.random.default_rng(1), 0
    for _ in range(600):
        scatter(env, rng)
        env._sim.forward()
        robosuite = env._robosuite
        grasped = robosuite._check_grasp(robosuite.robots[0].gripper, robosuite.cubeA)
        held += grasped and robosuite.check_contact(robosuite.cubeA, robosuite.cubeB)
    env.close()
    assert held > 10
