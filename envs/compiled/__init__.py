"""robosuite's control step, compiled: the same physics and the same controller in a third of the time or less."""
