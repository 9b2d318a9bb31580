"""What `auto` and `auto-fast` stand for on a machine: candidates, what is measured of them, and what is kept of that.

candidates.py   which steps may be taken, and which windows
profile.py      what was measured of one engine, on disk, and what a plan should take by it
autotuner.py    times the engine, counts rounds, and lets the best few race
progress.py     says how far it is
"""
