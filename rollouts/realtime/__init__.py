"""The control loop in wall-clock time: a robot that does not wait, and the timeline of what happened."""
