"""All of it at the same time, with somebody who calls properly beside it; then everything is looked at."""

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from fuzz import http2
from fuzz.calling import Calls, call_at_random
from fuzz.ground import Ground
from fuzz.http2 import Connections
from fuzz.messages import Messages, Sender
from grpc_bridge.proto.beers.v1 import beers_pb2 as v1
from grpc_bridge.proto.beers.v1 import beers_pb2_grpc as v1_grpc

PASSING = (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
"""After which a client tries again. The last is what gRPC tells of a call that came as its server ended."""

PROBE_EVERY = 0.2
PROBE_PATIENCE = 10.0
"""Seconds within which a proper call is answered, whatever comes beside it."""

MEMORY_MIB = 48.0
"""How much a process may have grown since it was warm."""

WARM = 0.4
"""The part of everything after which memory is measured first: caches, pools and rings are full by then."""

EXAMPLES = 5
"""How many inputs are kept for each kind of finding."""


@dataclass(frozen=True, slots=True)
class Options:
    """What is sent: it all follows from the seed."""

    seed: int
    requests: int
    connections: int
    messages: int


@dataclass
class Findings:
    """What was found: how often, and the first few inputs that did it."""

    file: Path
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, what: str, input_: object) -> None:
        """Note a finding."""
        kind = what[:160]
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if self.counts[kind] <= EXAMPLES:
            with self.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"found": what, "input": input_}, default=repr) + "\n")


@dataclass
class Result:
    """What came of it.

    Attributes:
        calls: To the bridge.
        connections: To the port.
        messages: To the broker.
        probes: How many proper calls were answered beside it.
        slowest: The seconds that the slowest of them took.
        warm: Memory of each part once warm, in MiB.
        memory: The same in the end.
        events: How many events the log holds.
        seconds: How long it took.
        findings: What is wrong.
    """

    calls: Calls = field(default_factory=Calls)
    connections: Connections = field(default_factory=Connections)
    messages: Messages = field(default_factory=Messages)
    probes: int = 0
    slowest: float = 0.0
    warm: dict[str, float] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)
    events: int = 0
    seconds: float = 0.0
    findings: dict[str, int] = field(default_factory=dict)


async def run(ground: Ground, options: Options, folder: Path, say: Callable[[str], None]) -> Result:
    """Run it on the product that stands on *ground*; inputs that did something go to *folder*."""
    result = Result()
    findings = Findings(folder / "findings.jsonl", result.findings)
    before = ground.pids()
    began = time.monotonic()
    beside = [asyncio.create_task(_probe(ground, result, findings)), asyncio.create_task(http2.linger(ground.address))]
    try:
        for share, number in ((WARM, 0), (1 - WARM, 1)):
            say(f"{share:.0%} of everything")
            await _attack(ground, options, share, 2 * options.seed + number, result, findings)
            if number == 0:
                await _settle()
                result.warm = ground.memory()
    finally:
        for task in beside:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
    await _settle()
    result.memory = ground.memory()
    result.seconds = round(time.monotonic() - began, 1)
    say("looking at what is left")
    await _look(ground, before, result, findings)
    return result


async def _attack(
    ground: Ground, options: Options, share: float, seed: int, result: Result, findings: Findings
) -> None:
    """Send a share of everything, all at the same time."""
    async with asyncio.TaskGroup() as attacks:
        number = int(options.requests * share)
        attacks.create_task(call_at_random(ground.address, seed, number, result.calls, findings.add))
        number = int(options.connections * share)
        attacks.create_task(http2.attack(ground.address, seed, number, result.connections, findings.add))
        attacks.create_task(asyncio.to_thread(_send, ground, seed, int(options.messages * share), result, findings))


def _send(ground: Ground, seed: int, number: int, result: Result, findings: Findings) -> None:
    sender = Sender(ground.amqp_uri, seed, findings.add)
    sender.messages = result.messages
    try:
        sender.send(number)
    except TimeoutError as error:
        findings.add(str(error), None)
    finally:
        sender.close()


async def _settle() -> None:
    """Let what is on its way end."""
    await asyncio.sleep(2)


async def _probe(ground: Ground, result: Result, findings: Findings) -> None:
    """Add a beer and read it again, over and over, as a client with patience does."""
    async with grpc.aio.insecure_channel(ground.address) as channel:
        stub: v1_grpc.BeersServiceAsyncStub = v1_grpc.BeersServiceStub(channel)
        number = 0
        while True:
            number += 1
            started = time.monotonic()
            try:
                async with asyncio.timeout(PROBE_PATIENCE):
                    await _add_and_read(stub, f"probe-{started}-{number}")
                result.probes += 1
            except TimeoutError:
                findings.add(f"a proper call was not answered within {PROBE_PATIENCE:g} s", number)
            except grpc.aio.AioRpcError as error:
                findings.add(f"a proper call failed: {error.code().name} {error.details()}", number)
            result.slowest = round(max(result.slowest, time.monotonic() - started), 3)
            await asyncio.sleep(PROBE_EVERY)


async def _add_and_read(stub: "v1_grpc.BeersServiceAsyncStub", request_id: str) -> None:
    while True:
        try:
            added = await stub.AddBeer(v1.AddBeerRequest(name="Probe", request_id=request_id), timeout=PROBE_PATIENCE)
            read = await stub.GetBeer(
                v1.GetBeerRequest(beer_id=added.beer.id, as_of_position=0), timeout=PROBE_PATIENCE
            )
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return  # as of the beginning there was none: so the read was answered
            if error.code() not in PASSING:
                raise
            await asyncio.sleep(PROBE_EVERY)  # which is what it asks for
        else:
            raise RuntimeError(f"there was a beer at position 0: {read}")


async def _look(ground: Ground, before: dict[str, int], result: Result, findings: Findings) -> None:
    after = ground.pids()
    for part, pid in before.items():
        if after.get(part) != pid:
            findings.add(f"{part} ended, and was started again or not", {"before": pid, "after": after.get(part)})
    for part, warm in result.warm.items():
        if result.memory.get(part, 0.0) > warm + MEMORY_MIB:
            findings.add(f"{part} grew by more than {MEMORY_MIB:g} MiB", {"warm": warm, "end": result.memory[part]})
    head, number, highest = ground.positions()
    result.events = number
    if not head == number == highest:
        findings.add("the log has a gap", {"head": head, "events": number, "highest": highest})
    told = await _watched(ground)
    if told != head:
        findings.add(
            "a watch from the beginning does not tell every event once and in order", {"head": head, "told": told}
        )
    database = f"sqlite:///{ground.data / 'beers.db'}"
    for arguments in (["verify", "--database-url", database], ["dead-letters", "list", "--amqp-uri", ground.amqp_uri]):
        if wrong := await asyncio.to_thread(ground.admin, arguments):
            findings.add(f"beers admin {arguments[0]}: {wrong}", None)


async def _watched(ground: Ground) -> int:
    """Return how many events a watch from the beginning tells, without a gap and in order; -1 if there is none such."""
    options: Any = [("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(ground.address, options) as channel:
        stub: v1_grpc.BeersServiceAsyncStub = v1_grpc.BeersServiceStub(channel)
        last = 0
        async for response in stub.WatchBeers(v1.WatchBeersRequest(from_beginning=True), timeout=300):
            for event in response.events.events:
                if event.position != last + 1:
                    return -1
                last = event.position
            if response.HasField("caught_up"):
                return last
    return -1
