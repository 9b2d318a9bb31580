"""Fast versions of robosuite's success rules, which read the simulator's arrays directly.

Each function takes robosuite's environment and returns a check of its current state; call it again after each reset. `item`
reads a number of an array as a plain float, which is faster than indexing.
"""

from collections.abc import Callable
from math import dist, tanh
from typing import Any

import numpy as np

Check = Callable[[], bool]
MakesCheck = Callable[[Any], Check]
# A nut is on its peg if its centre is in a square of this half width and below this height above the table (m).
PEG_HALF_M, PEG_HEIGHT_M = 0.03, 0.05
BIN_HEIGHT_M = 0.1
LIFTED_M = 0.04
OPEN_RAD = 0.3
POT_LIFTED_M = 0.10
# The frame is in the stand if its tip is at most this far from the centre of the stand's base (m).
INSERTED_M = 0.05


def by_robosuite(env: Any) -> Check:
    """robosuite's own check."""
    return lambda: bool(env._check_success())


def cube_is_lifted(env: Any) -> Check:
    """The rule of Lift."""
    position, cube = env.sim.data.body_xpos.item, env.cube_body_id
    above = float(env.model.mujoco_arena.table_offset[2]) + LIFTED_M
    return lambda: position(cube, 2) > above


def nut_is_on_peg(env: Any) -> Check:
    """The rule of the tasks with nuts: any nut is on its peg, and the hand is away from it."""
    position, is_away = env.sim.data.body_xpos.item, _is_away(env)
    below = float(env.table_offset[2]) + PEG_HEIGHT_M
    pegs = [env.peg1_body_id] + [env.peg2_body_id] * (len(env.nuts) - 1)
    pairs = [(env.obj_body_id[nut.name], peg) for nut, peg in zip(env.nuts, pegs, strict=True)]
    return lambda: any(
        abs(position(nut, 0) - position(peg, 0)) < PEG_HALF_M
        and abs(position(nut, 1) - position(peg, 1)) < PEG_HALF_M
        and position(nut, 2) < below
        and is_away(nut)
        for nut, peg in pairs
    )


def object_is_in_bin(env: Any) -> Check:
    """The rule of the pick-and-place tasks: any object is in its quarter of the second bin."""
    position, is_away = env.sim.data.body_xpos.item, _is_away(env)
    places = [(env.obj_body_id[thing.name], *_bin(env, i)) for i, thing in enumerate(env.objects)]
    floor = float(env.bin2_pos[2])
    return lambda: any(
        low_x < position(thing, 0) < high_x
        and low_y < position(thing, 1) < high_y
        and floor < position(thing, 2) < floor + BIN_HEIGHT_M
        and is_away(thing)
        for thing, (low_x, low_y), (high_x, high_y) in places
    )


def cubes_are_stacked(env: Any) -> Check:
    """The rule of Stack: the first cube is lifted, touches the second one, and is not between the fingers."""
    data, cube = env.sim.data, env.cubeA_body_id
    position, above = data.body_xpos.item, float(env.table_offset[2]) + LIFTED_M
    pads = env.robots[0].gripper["right"].important_geoms
    groups = [env.cubeA.contact_geoms, env.cubeB.contact_geoms, pads["left_fingerpad"], pads["right_fingerpad"]]
    # One bit for each group, so that the combined bits of a contact pair show which groups touch.
    bits = np.zeros(env.sim.model.ngeom, np.int64)
    for i, names in enumerate(groups):
        bits[[env.sim.model.geom_name2id(name) for name in names]] = 1 << i
    first, second, left, right = (1 << i for i in range(4))

    def check() -> bool:
        if position(cube, 2) <= above:
            return False
        touching = set(bits[data.contact.geom].sum(1).tolist())
        held = {first + left, first + right} <= touching
        return first + second in touching and not held

    return check


def door_is_open(env: Any) -> Check:
    """The rule of Door."""
    joint, hinge = env.sim.data.qpos.item, env.hinge_qpos_addr
    return lambda: joint(hinge) > OPEN_RAD


def pot_is_lifted(env: Any) -> Check:
    """The rule of TwoArmLift: the pot's bottom is above the table."""
    position, pot, table = env.sim.data.site_xpos.item, env.pot_center_id, env.table_top_id
    down = float(env.pot.top_offset[2])
    return lambda: position(pot, 2) - down > position(table, 2) + POT_LIFTED_M


def tool_hangs_on_frame(env: Any) -> Check:
    """The rule of ToolHang: necessary conditions from arrays first, then robosuite's own slower rule."""
    data, sites, geoms = env.sim.data, env.obj_site_id, env.obj_geom_id
    base = data.geom_xpos[geoms["stand_base"]]
    tip, hang, corner, ring = (
        data.site_xpos[sites[name]]
        for name in ("frame_tip_site", "frame_hang_site", "frame_intersection_site", "tool_hole1_center")
    )
    room = float(env.tool_args["inner_radius_1"]) - float(env.frame_args["frame_thickness"]) / 2

    def check() -> bool:
        if dist(tip.tolist(), base.tolist()) >= INSERTED_M:
            return False
        # The ring's distance from the line along the frame's arm.
        off = np.linalg.norm(np.cross(ring - hang, corner - hang)) / np.linalg.norm(corner - hang)
        return bool(off < 1.01 * room and env._check_success())

    return check


def _is_away(env: Any) -> Callable[[int], bool]:
    """Whether the hand is at least 4.2 cm away from a body, computed as in robosuite."""
    data = env.sim.data
    hand, positions = data.site_xpos[env.robots[0].eef_site_id["right"]], data.body_xpos
    return lambda body: 1 - tanh(10 * dist(hand.tolist(), positions[body].tolist())) < 0.6


def _bin(env: Any, i: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """Corners of an object's quarter of the bin, low and high (m)."""
    width, depth = float(env.bin_size[0]) / 2, float(env.bin_size[1]) / 2
    low_x = float(env.bin2_pos[0]) - (width if i in (0, 2) else 0)
    low_y = float(env.bin2_pos[1]) - (depth if i < 2 else 0)
    return (low_x, low_y), (low_x + width, low_y + depth)
