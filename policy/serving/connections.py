"""Handles clients that do not read or have disconnected, so that they block nothing."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from websockets.asyncio.server import Server, ServerConnection
from websockets.exceptions import ConnectionClosedError

from paradp.policy.requests import Chunk

# A client that does not read an answer for this time, or has this many unread bytes, is disconnected.
READ_SECONDS, MOST_UNREAD_BYTES = 5.0, 2**20


async def send(connection: ServerConnection, message: str | bytes) -> None:
    """Sends an answer; disconnects a client that does not read it.

    Raises:
        TimeoutError: the client did not read it in time.
    """
    try:
        async with asyncio.timeout(READ_SECONDS):
            await connection.send(message)
    except TimeoutError:
        connection.transport.abort()
        raise


async def while_connected(connection: ServerConnection, plan: Coroutine[Any, Any, Chunk]) -> Chunk:
    """Waits for a plan while the client is connected.

    Raises:
        ConnectionClosed: the client has disconnected; its request is cancelled.
    """
    making, gone = asyncio.create_task(plan), asyncio.create_task(connection.wait_closed())
    try:
        await asyncio.wait({making, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not making.done():
            raise ConnectionClosedError(None, None)
        return making.result()
    finally:
        making.cancel()
        gone.cancel()


async def cut_off_who_does_not_read(server: Server) -> None:
    """Disconnects a client with too many unread answers to pings, which are written without waiting."""
    while True:
        await asyncio.sleep(1.0)
        for connection in server.connections:
            if connection.transport.get_write_buffer_size() > MOST_UNREAD_BYTES:
                connection.transport.abort()
