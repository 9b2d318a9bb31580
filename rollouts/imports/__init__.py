"""Demonstrations that others recorded: read, checked, and turned into ours."""
