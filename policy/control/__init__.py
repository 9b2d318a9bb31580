"""Turns plans into commands: synchronous and asynchronous controllers, queues of chunks, safety."""
