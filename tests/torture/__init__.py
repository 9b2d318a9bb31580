"""Attacks the package and counts: kills, hostile files and messages, faulty control loops, full disks. `make torture`."""
