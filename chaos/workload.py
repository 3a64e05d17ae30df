"""Concurrent clients that call, retry what may be retried, and write down what became of it.

    python -m chaos.workload --seed N --clients N --began MONOTONIC --history FILE ADDRESS…

Standard input tells ``clock SECONDS``, by how much the clients' clock is wrong from now on, and ``stop``. A client
sends every attempt of a call with the same request id, to the next bridge each time. Its deadlines are moments of its
own clock, as those of many a client are: when the clock jumps, they pass at once, or not for days.
"""

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import grpc
import uvloop

from chaos.asking import OPTIONS, code_of, method_of, request_of, seen_in
from chaos.history import ACKNOWLEDGED, REFUSED, Call
from chaos.verdict import BUG
from grpc_bridge.proto.beers.v1 import beers_pb2_grpc as v1_grpc

RETRIED = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNKNOWN,  # a connection that broke
    grpc.StatusCode.INTERNAL,  # likewise
    grpc.StatusCode.CANCELLED,  # likewise
}
"""Statuses after which nothing is known, so that the same call is sent again."""

PATIENCES = ((15.0, 4.0), (15.0, 4.0), (15.0, 4.0), (3.0, None), (0.3, None))
"""How long a client keeps trying, and how long an attempt may take at most besides, in seconds, each as likely."""

IMPATIENT = 0.3
"""Who has no more patience than this sends one attempt."""

METHODS = {"add": 25, "rename": 20, "update": 15, "remove": 5, "restore": 7, "get": 20, "list": 8}
"""How often each is called, in percent."""

STOP_PATIENCE = 25.0
"""Seconds that calls in progress may take to end when the workload is told to stop."""

HOT = 20
"""How many of the beers half of all changes are made to, so that clients meet."""

SHORTEST_ATTEMPT = 0.001


class Clock:
    """The clients' own: it is wrong by *skew* seconds."""

    def __init__(self) -> None:
        self.skew = 0.0

    def now(self) -> float:
        """Return the seconds since 1970, as this clock has it."""
        return time.time() + self.skew


class Beers:
    """The beers that the clients know of, the last version that anybody saw, and which may be removed."""

    def __init__(self) -> None:
        self._ids: list[int] = []
        self._versions: dict[int, int] = {}
        self._removed: dict[int, None] = {}

    def learn(self, call: Call) -> None:
        """Take in what an answer shows."""
        for beer_id, version, _ in call.seen:
            if beer_id not in self._versions:
                self._ids.append(beer_id)
            self._versions[beer_id] = max(version, self._versions.get(beer_id, 0))
            if call.method == "remove":
                self._removed[beer_id] = None
            elif call.method == "restore":
                self._removed.pop(beer_id, None)

    def pick(self, chance: random.Random, method: str) -> int | None:
        """Return a beer for a call of *method*; None if none is known."""
        if not self._ids:
            return None
        if method == "restore" and self._removed:
            return chance.choice(list(self._removed))
        return chance.choice(self._ids[:HOT] if chance.random() < 0.5 else self._ids)  # noqa: PLR2004 - every other one

    def version(self, beer_id: int) -> int:
        """Return the highest version that was seen."""
        return self._versions[beer_id]


class Client:
    """Calls again and again, one call at a time."""

    def __init__(self, number: int, seed: int, stubs: Sequence[Any], run: "Run") -> None:
        self._number = number
        self._seed = seed
        self._chance = random.Random(f"{seed}-{number}")
        self._stubs = stubs
        self._bridge = number
        self._run = run
        self._count = 0

    async def work(self) -> None:
        """Call until told to stop; the last call ends first."""
        while not self._run.stopping.is_set():
            call = self._next()
            try:
                await self._make(call)
            finally:
                call.ended = self._run.at()
                self._run.write(call)
            await asyncio.sleep(self._chance.uniform(0, 2 * self._run.think))

    def _next(self) -> Call:
        self._count += 1
        chance, beers = self._chance, self._run.beers
        method = chance.choices(list(METHODS), list(METHODS.values()))[0]
        beer_id = beers.pick(chance, method)
        if beer_id is None:
            method = "add"
        request_id = f"chaos-{self._seed}-{self._number}-{self._count}"
        arguments: dict[str, Any] = {} if method in {"add", "list"} else {"beer_id": beer_id}
        match method:
            case "add":
                arguments = {
                    "name": f"Beer {request_id}",
                    "brewery": f"Brewery {chance.randrange(100)}",
                    "abv": chance.randrange(1000) / 100,
                }
            case "rename":
                arguments["name"] = f"Name {request_id}"  # no two are alike: every rename is an event
            case "update":
                arguments |= {"brewery": f"Brewery {request_id}", "abv": chance.randrange(1000) / 100}
            case "get" if chance.random() < 0.2:  # noqa: PLR2004 - one in five
                arguments["as_of_time"] = round(self._run.clock.now(), 3)
            case "list":
                arguments = {"page_size": 5, "order_by": chance.choice(["id desc", "name", "abv"])}
                arguments["show_removed"] = chance.random() < 0.5  # noqa: PLR2004 - every other one
        if beer_id is not None and method in {"rename", "update"} and chance.random() < 0.3:  # noqa: PLR2004 - some
            arguments["expected_version"] = beers.version(beer_id)
        is_read = method in {"get", "list"}
        return Call(self._number, method, "" if is_read else request_id, arguments, self._run.at())

    async def _make(self, call: Call) -> None:
        patience, longest = self._chance.choice(PATIENCES)
        clock = self._run.clock
        deadline = clock.now() + patience
        request = request_of(call)
        while True:
            remaining = max(SHORTEST_ATTEMPT, deadline - clock.now())
            try:
                stub = self._stubs[self._bridge % len(self._stubs)]
                answer = await getattr(stub, method_of(call))(request, timeout=min(remaining, longest or remaining))
            except grpc.aio.AioRpcError as error:
                call.code = code_of(error)
                if error.code() not in RETRIED:
                    call.outcome = REFUSED
                    return
                if call.code == BUG or patience <= IMPATIENT or clock.now() >= deadline:
                    return
                call.failures.append(call.code)
                self._bridge += 1
                await asyncio.sleep(self._chance.uniform(0.02, 0.3))
            else:
                call.outcome, call.code, call.seen = ACKNOWLEDGED, "OK", seen_in(answer)
                self._run.beers.learn(call)
                return


class Run:
    """What the clients share.

    Attributes:
        began: When the run began, of `time.monotonic`.
        think: Seconds that a client waits between two calls, on average.
    """

    def __init__(self, began: float, think: float, history: IO[str]) -> None:
        self._history = history
        self.began = began
        self.think = think
        self.clock = Clock()
        self.beers = Beers()
        self.stopping = asyncio.Event()

    def at(self) -> float:
        """Return the seconds since the beginning of the run."""
        return round(time.monotonic() - self.began, 6)

    def write(self, call: Call) -> None:
        """Keep what became of a call."""
        self._history.write(call.line())

    async def listen(self) -> None:
        """Do what standard input says, to its end or ``stop``."""
        lines = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
        while line := (await lines.readline()).decode():
            word, _, argument = line.strip().partition(" ")
            if word == "stop":
                break
            if word == "clock":
                self.clock.skew = float(argument)
        self.stopping.set()


async def main() -> int:
    """Run the clients; the status is 1 if some calls did not end in time."""
    parser = argparse.ArgumentParser(prog="python -m chaos.workload", allow_abbrev=False)
    parser.add_argument("addresses", nargs="+", metavar="ADDRESS")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--clients", type=int, required=True)
    parser.add_argument("--think", type=float, required=True, metavar="SECONDS")
    parser.add_argument("--began", type=float, required=True, metavar="MONOTONIC")
    parser.add_argument("--history", type=Path, required=True, metavar="FILE")
    options = parser.parse_args()
    with options.history.open("w", encoding="utf-8", buffering=1) as history:
        run = Run(options.began, options.think, history)
        channels = [
            [grpc.aio.insecure_channel(address, OPTIONS) for address in options.addresses]
            for _ in range(options.clients)
        ]
        clients = [
            asyncio.create_task(
                Client(number, options.seed, [v1_grpc.BeersServiceStub(channel) for channel in own], run).work()
            )
            for number, own in enumerate(channels)
        ]
        await run.listen()
        finished, late = await asyncio.wait(clients, timeout=STOP_PATIENCE)
        for client in late:
            client.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        for client in finished:
            client.result()  # a bug of the workload's own shows
        for channel in (channel for own in channels for channel in own):
            await channel.close()
    if late:
        sys.stderr.write(f"{len(late)} calls had not ended {STOP_PATIENCE:g} s after the last fault\n")
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))
