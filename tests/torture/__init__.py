"""Attacks the package and counts: kills, hostile files and messages, faults in the control loop, full disks. `make torture`."""
