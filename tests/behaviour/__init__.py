"""Compares the behaviour of two commits, bit by bit: `make compare OLD=… NEW=…`, see `behaviour.__main__`.

Everything is reached by what stays where it is when modules move: the command line, `paradp.checkpoints` and
`paradp.policy`'s exports, files, and the wire.
"""
