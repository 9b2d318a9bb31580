"""Attacks the package and counts faults: kills, hostile files and messages, faulty loops, full disks. `make torture`."""
