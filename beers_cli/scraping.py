"""The metrics of processes, read over HTTP as Prometheus does, and how much they have grown since the last time."""

import http.client
import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

PATIENCE: Final = 2.0
"""Seconds for a process to answer."""

_LARGEST: Final = 16 * 2**20
_CHUNK: Final = 2**16
_BIRTH: Final = "process_start_time_seconds"

Labels = frozenset[tuple[str, str]]
"""The labels of a series, with their values."""

Samples = Mapping[str, Mapping[Labels, float]]
"""Values by the name of the metric, as a scrape has it, and by labels."""


class Unreadable(Exception):
    """A process does not tell its metrics; the message says why."""


@dataclass(frozen=True, slots=True)
class Scrape:
    """What a process told at one time.

    Attributes:
        at: When, in seconds of a clock that only goes forward.
        samples: All that it told.
    """

    at: float
    samples: Samples


class Growth:
    """What a process tells, and by how much its counters have grown.

    A counter that is smaller than before began anew, with its process: then all of it has been added since.

    Args:
        before: The last time that it told something; None if this is the first.
        after: Now.

    Attributes:
        seconds: What lies between the two; 0 if there is no time before.
    """

    def __init__(self, before: Scrape | None, after: Scrape) -> None:
        self.samples = after.samples
        self.seconds = after.at - before.at if before else 0.0
        self._before = before.samples if before else {}
        if before and before.samples.get(_BIRTH) != after.samples.get(_BIRTH):
            self._before = {}  # another process: some of its counters may be beyond the old one's already

    def increases(self, name: str) -> dict[Labels, float]:
        """Return by how much each series of *name* has grown; nothing if there is no time before."""
        if not self.seconds:
            return {}
        before = self._before.get(name, {})
        now = self.samples.get(name, {})
        return {
            labels: value - before[labels] if before.get(labels, math.inf) <= value else value
            for labels, value in now.items()
        }


@dataclass(frozen=True, slots=True)
class Reading:
    """A process, and what there is to know of it now.

    Attributes:
        endpoint: Its HOST:PORT.
        growth: What it tells; None if it tells nothing.
        why: Why it does not.
    """

    endpoint: str
    growth: Growth | None
    why: str = ""


class Endpoints:
    """Where processes tell their metrics; it remembers what each told last.

    Args:
        addresses: Their HOST:PORT.
        discover: Whether to look at the port behind the last one too, and to keep it once one of ours answers there.
    """

    def __init__(self, addresses: Sequence[str], *, discover: bool) -> None:
        self._addresses = list(dict.fromkeys(addresses))
        self._discover = discover
        self._last: dict[str, Scrape] = {}

    def read(self) -> list[Reading]:
        """Ask all of them at the same time; it takes `PATIENCE`, and as long again to discover others."""
        with ThreadPoolExecutor(len(self._addresses)) as pool:
            readings = list(pool.map(self._read, self._addresses))
        while self._discover and (candidate := _next(self._addresses[-1])):
            found = self._read(candidate)
            if found.growth is None or "beers_build_info" not in found.growth.samples:
                break
            self._addresses.append(candidate)
            readings.append(found)
        return readings

    def _read(self, address: str) -> Reading:
        try:
            now = scrape(address)
        except Unreadable as reason:
            return Reading(address, None, str(reason))
        before = self._last.get(address)
        self._last[address] = now
        return Reading(address, Growth(before, now))


def scrape(address: str) -> Scrape:
    """Return what the process at *address* tells; raises `Unreadable`."""
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=PATIENCE)
    try:
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        if response.status != http.client.OK:
            raise Unreadable(f"answers {response.status} {response.reason}")
        text = _body(response, time.monotonic() + PATIENCE)
        return Scrape(time.monotonic(), parse(text))
    except TimeoutError as error:
        raise Unreadable(f"no answer within {PATIENCE:g} s") from error
    except OSError as error:
        raise Unreadable((error.strerror or str(error)).lower()) from error
    except (http.client.HTTPException, ValueError) as error:
        raise Unreadable("answers, but not with metrics") from error
    finally:
        connection.close()


def parse(text: str) -> Samples:
    """Return the samples in *text*, in Prometheus' format; raises ValueError if it is none."""
    from prometheus_client.parser import text_string_to_metric_families  # noqa: PLC0415 - the other commands need none

    samples: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return samples


def _body(response: http.client.HTTPResponse, deadline: float) -> str:
    received = bytearray()
    while chunk := response.read1(_CHUNK):
        received += chunk
        if time.monotonic() > deadline:
            raise TimeoutError
        if len(received) > _LARGEST:
            raise ValueError("too large")
    return received.decode()


def _next(address: str) -> str:
    host, _, port = address.rpartition(":")
    return f"{host}:{int(port) + 1}" if int(port) < 65535 else ""  # noqa: PLR2004 - the last port
