"""One request over HTTP after the other, each bounded in time and in memory, whatever the other side does.

Libraries bound each read only: who sends a byte now and then holds them for ever. Here the socket is shut down when
the time is over, wherever its user waits then. Works in threads, and in green ones where eventlet has patched.
"""

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http import HTTPStatus
from io import BytesIO
from typing import Final
from urllib.parse import urlsplit

from requests import PreparedRequest, Response, Session
from requests.adapters import BaseAdapter
from requests.exceptions import ConnectionError as NotConnectedError
from requests.exceptions import Timeout, TooManyRedirects
from requests.structures import CaseInsensitiveDict

_ANSWER: Final = 16 * 1024
"""Bytes of an answer's body that are read so that its connection can be used again; beyond that it is closed."""


def bounded_session() -> Session:
    """Return a session of requests whose exchanges last as long as their timeout at most, to connect included.

    Only how long it takes to look a name up is left to the system. It is for one server, and for one thread at a time.
    The body of an answer is not kept. Neither proxies nor ``.netrc`` are asked.
    """
    session = Session()
    session.trust_env = False
    adapter = _Bounded()
    for scheme in ("http://", "https://"):
        session.mount(scheme, adapter)
    return session


class _Bounded(BaseAdapter):
    """Exchanges requests for answers, over one connection that is kept."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()  # what `close` and the watch may do while somebody waits for an answer
        self._connection: http.client.HTTPConnection | None = None
        # The same socket once more, as TLS detaches the first and http.client lets go of its own when it likes.
        self._handle: socket.socket | None = None
        self._number = 0  # of the exchange
        self._busy = False
        self._closed = False
        self._expired = False
        self._deadline = 0.0

    def send(
        self,
        request: PreparedRequest,
        stream: bool = False,  # noqa: ARG002, FBT001, FBT002 - as requests has it
        timeout: float | tuple[float | None, float | None] | None = None,
        verify: bool | str = True,  # noqa: FBT001, FBT002
        cert: str | bytes | tuple[str, str] | None = None,
        proxies: Mapping[str, str] | None = None,  # noqa: ARG002
    ) -> Response:
        """Return the answer to *request*, with an empty body; see `BaseAdapter`.

        Raises:
            Timeout: If *timeout*, in seconds, has passed.
            requests.exceptions.ConnectionError: If there was no answer.
            TooManyRedirects: If it was a redirect.
        """
        if not isinstance(timeout, int | float):
            raise TypeError(f"timeout must be a number of seconds, got {timeout!r}")
        try:
            with self._watched(timeout):
                answer = self._exchange(request, verify, cert)
        except (OSError, http.client.HTTPException) as error:
            if self._expired or isinstance(error, TimeoutError):
                raise Timeout(f"no whole answer within {timeout:g} s", request=request) from error
            raise NotConnectedError(error, request=request) from error
        if HTTPStatus.MULTIPLE_CHOICES <= answer.status < HTTPStatus.BAD_REQUEST:
            # The library does not follow it, and takes it for a success.
            raise TooManyRedirects(f"{answer.status} {answer.reason}", request=request)
        response = Response()
        response.status_code, response.reason = answer.status, answer.reason
        response.headers = CaseInsensitiveDict(answer.getheaders())
        response.url, response.request = request.url or "", request
        response.raw = BytesIO()
        return response

    def close(self) -> None:
        """Close the connection; who waits for an answer waits no longer."""
        with self._lock:
            self._closed = True
            self._shut_down()
            if not self._busy:
                self._drop()

    @contextmanager
    def _watched(self, timeout: float) -> Iterator[None]:
        self._deadline = time.monotonic() + timeout
        self._number += 1
        self._expired = False
        self._busy = True
        watch = threading.Timer(timeout, self._expire, [self._number])
        watch.daemon = True
        watch.start()
        whole = False
        try:
            yield
            if self._expired:  # which looks like the end of the answer
                raise TimeoutError
            whole = True
        finally:
            watch.cancel()
            with self._lock:
                self._busy = False
                if not whole or self._closed or self._connection is None or self._connection.sock is None:
                    self._drop()

    def _exchange(
        self, request: PreparedRequest, verify: object, cert: str | bytes | tuple[str, str] | None
    ) -> http.client.HTTPResponse:
        connection = self._connection or self._connect(request.url or "", verify, cert)
        connection.sock.settimeout(self._left())
        if not isinstance(request.body, bytes):
            raise TypeError("only bytes can be sent")
        connection.request(request.method or "", request.path_url, request.body, dict(request.headers))
        with connection.getresponse() as answer:
            answer.read(_ANSWER)
            if not answer.isclosed():
                connection.close()
        return answer

    def _connect(
        self, url: str, verify: object, cert: str | bytes | tuple[str, str] | None
    ) -> http.client.HTTPConnection:
        parts = urlsplit(url)
        host = parts.hostname or ""
        if parts.scheme == "https":
            context = ssl.create_default_context(cafile=verify if isinstance(verify, str) else None)
            if cert is not None:
                context.load_cert_chain(*((cert,) if isinstance(cert, str | bytes) else cert))
            self._connection = http.client.HTTPSConnection(host, parts.port, context=context)
            reached = self._reach(host, self._connection.port)
            encrypted = context.wrap_socket(reached, server_hostname=host, do_handshake_on_connect=False)
            self._connection.sock = encrypted
            encrypted.do_handshake()
        else:
            self._connection = http.client.HTTPConnection(host, parts.port)
            self._connection.sock = self._reach(host, self._connection.port)
        self._connection.auto_open = 0
        return self._connection

    def _reach(self, host: str, port: int) -> socket.socket:
        """Return a socket that is connected; each address of *host* has an equal part of the time that is left."""
        reason: OSError | None = None
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        for others, (family, kind, protocol, _, address) in zip(reversed(range(len(found))), found, strict=True):
            reached = socket.socket(family, kind, protocol)
            try:
                reached.settimeout(self._left() / (others + 1))
                reached.connect(address)
                reached.settimeout(self._left())
                reached.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._lock:
                    self._handle = reached.dup()
                    if self._expired or self._closed:
                        self._shut_down()
            except OSError as error:
                reached.close()
                reason = error
            else:
                return reached
        raise reason or OSError(f"{host} has no address")

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def _expire(self, number: int) -> None:
        with self._lock:
            if self._busy and self._number == number:
                self._expired = True
                self._shut_down()

    def _shut_down(self) -> None:
        if self._handle is not None:
            with suppress(OSError):  # the other side has closed it already
                self._handle.shutdown(socket.SHUT_RDWR)

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._handle is not None:
            self._handle.close()
            self._handle = None
