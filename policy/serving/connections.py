"""Handles clients that do not read or have disconnected, so that they block nothing."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from websockets.asyncio.server import Server, ServerConnection
from websockets.exceptions import ConnectionClosedError

from paradp.policy.requests import Chunk

# A client that has not read an answer after so long, or lets so much pile up, is cut off.
READ_SECONDS, MOST_UNREAD_BYTES = 5.0, 2**20


async def send(connection: ServerConnection, message: str | bytes) -> None:
    """Sends, and cuts off a client that does not read.

    Raises:
        TimeoutError: it did not.
    """
    try:
        async with asyncio.timeout(READ_SECONDS):
            await connection.send(message)
    except TimeoutError:
        connection.transport.abort()
        raise


async def while_connected(connection: ServerConnection, plan: Coroutine[Any, Any, Chunk]) -> Chunk:
    """A plan, as long as there is somebody to have it.

    Raises:
        ConnectionClosed: the client has gone, and its request with it.
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
    """Answers to pings are written without waiting for anyone to read them."""
    while True:
        await asyncio.sleep(1.0)
        for connection in server.connections:
            if connection.transport.get_write_buffer_size() > MOST_UNREAD_BYTES:
                connection.transport.abort()
