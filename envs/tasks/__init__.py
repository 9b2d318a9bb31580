"""The tasks of paradp, one file each: description and scripted expert."""

from paradp.envs.tasks.can import CAN
from paradp.envs.tasks.door import DOOR
from paradp.envs.tasks.kitchen import KITCHEN
from paradp.envs.tasks.lift import LIFT
from paradp.envs.tasks.pusht import PUSHT, PUSHT_STATE
from paradp.envs.tasks.square import SQUARE
from paradp.envs.tasks.stack import STACK
from paradp.envs.tasks.tool_hang import TOOL_HANG
from paradp.envs.tasks.two_arm_lift import TWO_ARM_LIFT

ENTRIES = (SQUARE, LIFT, CAN, STACK, DOOR, TOOL_HANG, PUSHT, PUSHT_STATE, KITCHEN, TWO_ARM_LIFT)
