"""robosuite's control step, compiled: the same physics and the same controller in a third of the time or less."""

from paradp.envs.robosuite_import import import_robosuite

import_robosuite()
