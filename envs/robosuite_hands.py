"""Finds the hands of a robosuite environment in MuJoCo's arrays."""

from typing import Any, NamedTuple


class Hand(NamedTuple):
    """The indices of a hand in MuJoCo's arrays.

    Attributes:
        site: the grip site, which the controller moves.
        body: the hand's body, whose quaternion robosuite observes.
        fingers: indices of the two finger joints in `qpos`.
    """

    site: int
    body: int
    fingers: tuple[int, int]


def find_hands(env: Any) -> tuple[Hand, ...]:
    """Finds the hand of each robot, in robosuite's order."""
    model = env.sim.model
    return tuple(
        Hand(
            site=robot.eef_site_id["right"],
            body=model.body_name2id(robot.robot_model.eef_name["right"]),
            fingers=tuple(model.get_joint_qpos_addr(name) for name in robot.gripper["right"].joints),
        )
        for robot in env.robots
    )
