"""The loop by the wall clock: a robot that does not wait, and when everything happened."""
