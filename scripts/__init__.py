"""The command line `paradp …`: parse, assemble, call."""
