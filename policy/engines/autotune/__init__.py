"""Autotuning: finds the fastest sampler on a machine, for `auto` and `auto-fast`.

candidates.py   the samplers to choose from: steps and windows
profile.py      measurements of an engine, stored on disk, and the predicted time of a plan
autotuner.py    times the engine, counts rounds, and times the best candidates
progress.py     reports progress
"""
