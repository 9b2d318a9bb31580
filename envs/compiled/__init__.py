"""robosuite's control step, compiled: the same physics and the same controller, several times as fast."""

from paradp.envs.robosuite_import import import_robosuite

import_robosuite()
