"""What flows in from a connection, many frames at a time. py-amqp reads each frame with three calls of the system."""

from struct import Struct

import amqp

_HEADER = Struct(">BHL")
_OVERHEAD = 8  # bytes of a frame besides its payload
_END = 0xCE
_READ = 256 * 1024
"""Bytes that one read asks for: some hundreds of calls."""


class Inflow:
    """Reads from a connection in the place of `amqp.Connection.drain_events`, as its only reader from then on."""

    def __init__(self, connection: amqp.Connection) -> None:
        self._connection = connection
        self._rest = b""

    def drain(self, timeout: float | None = None) -> None:
        """Wait until something comes, and hand on every frame that came with it.

        Args:
            timeout: Seconds to wait; None for as long as the time limit of the socket.

        Raises:
            TimeoutError: If nothing came in that time.
            OSError: If the connection has ended.
        """
        # To ask an ended connection for its transport would connect it anew.
        if not self._connection.connected:
            raise ConnectionResetError("the connection has ended")
        with self._connection.transport.having_timeout(timeout) as socket:
            chunk = socket.recv(_READ)
        if not chunk:
            raise ConnectionResetError("the broker has closed the connection")
        data = self._rest + chunk
        start, end = 0, len(data)
        take = self._connection.on_inbound_frame
        while end - start >= _OVERHEAD:
            kind, channel, size = _HEADER.unpack_from(data, start)
            body = start + _HEADER.size
            following = body + size + 1
            if following > end:
                break
            if data[following - 1] != _END:
                raise amqp.exceptions.UnexpectedFrame(f"a frame ends in {data[following - 1]:#04x}")
            take((kind, channel, data[body : following - 1]))
            start = following
        self._rest = data[start:]
