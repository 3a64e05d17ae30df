"""What comes to the port from who does not speak gRPC, or HTTP/2: garbage, floods, lies, and those who never finish."""

import asyncio
import contextlib
import random
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from fuzz import judging
from fuzz.calling import Find

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RESET, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, END_HEADERS = 1, 4
READING = 0.3
"""Seconds for which an answer is read."""

LINGERING = 100
"""Connections that begin something and never finish it, all the time."""

_SHOWN = 200
"""Bytes of an attack that a finding shows."""


@dataclass
class Connections:
    """How many connections were made, and how many of those were refused or reset before all had been sent."""

    made: int = 0
    cut_off: int = 0


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Return a frame."""
    return struct.pack(">I", len(payload))[1:] + bytes((kind & 255, flags & 255)) + struct.pack(">I", stream) + payload


def header_block(headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Return *headers* as HPACK has them that indexes nothing and compresses nothing."""
    return b"".join(b"\0" + _length(name) + name + _length(value) + value for name, value in headers)


def _length(text: bytes) -> bytes:
    if len(text) < 127:
        return bytes((len(text),))
    rest, found = len(text) - 127, bytearray(b"\x7f")
    while rest > 127:
        found.append(rest & 127 | 128)
        rest >>= 7
    return bytes((*found, rest))


def call_headers(path: bytes) -> list[tuple[bytes, bytes]]:
    """Return the headers of a gRPC call of *path*, in plaintext."""
    return [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path),
        (b":authority", b"x"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
    ]


def request(chance: random.Random) -> bytes:
    """Return a call of AddBeer with something odd about its headers or its message."""
    headers = dict(call_headers(b"/beers.v1.BeersService/AddBeer"))
    odd = [
        (b"content-type", b"text/plain"),
        (b"content-type", b"application/grpc+json"),
        (b":method", b"GET"),
        (b":scheme", b"gopher"),
        (b":path", b""),
        (b":path", b"/\xff\xfe"),
        (b":authority", b"\0"),
        (b"te", b"x"),
        (b"grpc-encoding", b"gzip"),
        (b"grpc-encoding", b"zstd"),
        (b"grpc-encoding", b"deflate"),
        (b"grpc-timeout", b"-1S"),
        (b"grpc-timeout", b"99999999999H"),
        (b"grpc-timeout", b"0n"),
        (b"grpc-accept-encoding", b"," * 3000),
        (b"x-odd-bin", b"!not base64!"),
        (b"X-UPPER", b"x"),
        (b"x y", b"\r\n"),
        (b"transfer-encoding", b"chunked"),
        (b"content-length", b"7"),
        (b"x-large", b"l" * 40_000),
    ]
    headers |= dict(chance.sample(odd, chance.randrange(1, 4)))
    if chance.random() < 0.1:
        del headers[chance.choice(list(headers))]
    message = chance.choice((b"\x0a\x04Punk", b"", chance.randbytes(50), b"\x1f\x8b" + chance.randbytes(50)))
    flag = chance.choice((0, 0, 1, 2, 255))
    length = chance.choice((len(message), len(message), 0, 2**31, 2**32 - 1, len(message) + 10))
    block = header_block(list(headers.items()))
    begin = _pieces(block) if len(block) > 16_000 else frame(HEADERS, END_HEADERS, 1, block)
    body = frame(DATA, END_STREAM, 1, bytes((flag,)) + struct.pack(">I", length) + message)
    return PREFACE + frame(SETTINGS, 0, 0, b"") + begin + body


def _pieces(block: bytes) -> bytes:
    parts = [block[at : at + 16_000] for at in range(0, len(block), 16_000)]
    frames = [frame(HEADERS if index == 0 else CONTINUATION, 0, 1, part) for index, part in enumerate(parts)]
    return b"".join(frames) + frame(CONTINUATION, END_HEADERS, 1, b"")


def _random_frames(chance: random.Random) -> bytes:
    def frames() -> Iterator[bytes]:
        for _ in range(chance.randrange(1, 60)):
            stream = chance.choice((0, 1, 3, 2, 2**31 - 1, 2**32 - 1))
            yield frame(
                chance.randrange(12), chance.randrange(256), stream, chance.randbytes(chance.choice((0, 4, 8, 900)))
            )

    return PREFACE + frame(SETTINGS, 0, 0, b"") + b"".join(frames())


def _endless_headers(chance: random.Random) -> bytes:
    first = frame(HEADERS, 0, 1, header_block([(b":method", b"POST")]))
    piece = frame(CONTINUATION, 0, 1, header_block([(b"x-%d" % chance.randrange(1000), b"v" * 4000)]))
    return PREFACE + frame(SETTINGS, 0, 0, b"") + first + piece * chance.choice((10, 300))


def _settings_flood(chance: random.Random) -> bytes:
    setting = struct.pack(">HI", chance.choice((1, 2, 3, 4, 5, 6, 77)), chance.choice((0, 1, 2**31, 2**32 - 1)))
    return PREFACE + frame(SETTINGS, 0, 0, setting) * 3000


def _reset_flood(_chance: random.Random) -> bytes:
    names = (b":method", b":scheme", b":path", b"te", b"content-type")
    values = (b"POST", b"http", b"/beers.v1.BeersService/WatchBeers", b"trailers", b"application/grpc")
    block = header_block(list(zip(names, values, strict=True)))
    streams = range(1, 2000, 2)
    begun = (frame(HEADERS, END_HEADERS, each, block) + frame(RESET, 0, each, b"\0\0\0\x08") for each in streams)
    return PREFACE + frame(SETTINGS, 0, 0, b"") + b"".join(begun)


def _ping_flood(chance: random.Random) -> bytes:
    windows = frame(WINDOW, 0, chance.choice((0, 1)), struct.pack(">I", 2**31 - 1)) * 50
    return PREFACE + frame(SETTINGS, 0, 0, b"") + frame(PING, 0, 0, bytes(8)) * 3000 + windows


def _lying_length(chance: random.Random) -> bytes:
    return PREFACE + b"\xff\xff\xff" + bytes((chance.randrange(10), 0)) + bytes(4) + chance.randbytes(300)


ATTACKS: Sequence[Callable[[random.Random], bytes]] = (
    lambda chance: chance.randbytes(chance.choice((1, 24, 5000))),
    lambda chance: PREFACE + chance.randbytes(chance.choice((1, 9, 5000))),
    lambda chance: b"GET /" + b"a" * chance.choice((1, 20_000)) + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    lambda chance: b"\x16\x03\x01" + chance.randbytes(200),  # the beginning of TLS
    _random_frames,
    _endless_headers,
    _settings_flood,
    _reset_flood,
    _ping_flood,
    _lying_length,
    request,
    request,
    request,
    request,
)


async def attack(address: str, seed: int, number: int, connections: Connections, find: Find) -> None:
    """Make *number* connections, which *seed* decides, eight at a time."""
    chance = random.Random(seed)
    attacks = (chance.choice(ATTACKS)(chance) for _ in range(number))

    async def work() -> None:
        for sent in attacks:
            await _send(address, sent, connections, find)

    async with asyncio.TaskGroup() as workers:
        for _ in range(8):
            workers.create_task(work())


async def linger(address: str) -> None:
    """Hold connections that begin something and finish nothing, a byte a second, until cancelled."""
    host, _, port = address.rpartition(":")
    beginnings = (b"", PREFACE[:10], PREFACE, PREFACE + frame(SETTINGS, 0, 0, b"") + b"\0\0\x10\x01\0\0\0\0\x01")

    async def one(beginning: bytes) -> None:
        while True:
            writer = None
            try:
                _, writer = await asyncio.open_connection(host, int(port))
                writer.write(beginning)
                while not writer.is_closing():
                    await asyncio.sleep(1)
                    writer.write(b"\0")
                    await writer.drain()
            except OSError:
                await asyncio.sleep(1)  # it was cut off, as it may be; it comes again
            finally:
                if writer is not None:
                    writer.close()

    async with asyncio.TaskGroup() as all_of_them:
        for index in range(LINGERING):
            all_of_them.create_task(one(beginnings[index % len(beginnings)]))


async def _send(address: str, sent: bytes, connections: Connections, find: Find) -> None:
    host, _, port = address.rpartition(":")
    connections.made += 1
    answer = bytearray()
    writer = None
    try:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(sent)
        with contextlib.suppress(TimeoutError):  # who gets no answer is as well served
            async with asyncio.timeout(READING):
                while piece := await reader.read(65536):
                    answer += piece
    except OSError:
        connections.cut_off += 1
    finally:
        if writer is not None:
            writer.transport.abort()
    if found := judging.leak(bytes(answer)):
        find(f"tells of the inside: {found}", {"sent": sent[:_SHOWN].hex(), "bytes": len(sent)})
    if judging.internal(bytes(answer)):
        find("INTERNAL", {"sent": sent[:_SHOWN].hex(), "answer": answer.decode("latin-1")})
