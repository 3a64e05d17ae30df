"""How much of the bridge each client may take, so that one of them leaves something to the others."""

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from grpc_bridge.errors import overloaded

_MOST_CLIENTS: Final = 10_000
"""How many clients are remembered besides those that are busy."""


@dataclass(frozen=True, slots=True)
class Quota:
    """What one client may take; 0 for as much as there is.

    Attributes:
        calls: Calls at once, streams of requests among them.
        watches: Streams of responses at once.
        rate: Calls of either kind in a second, on average; twice as many may come at once.
    """

    calls: int = 0
    watches: int = 0
    rate: float = 0.0


class Share:
    """What one client takes."""

    __slots__ = ("at", "busy", "left", "name")

    def __init__(self, name: str, left: float, at: float) -> None:
        self.name = name
        self.busy = [0, 0]  # calls and watches
        self.left = left
        self.at = at


class Quotas:
    """Keeps each client within *quota*. Time is that of *clock*, in seconds; *refused* counts by what was exceeded."""

    def __init__(self, quota: Quota, clock: Callable[[], float], refused: Counter[str]) -> None:
        self._most = (quota.calls, quota.watches)
        self._rate = quota.rate
        self._burst = max(1.0, 2 * quota.rate)
        self._clock = clock
        self._refused = refused
        self._shares: OrderedDict[str, Share] = OrderedDict()

    def take(self, name: str, *, watch: bool) -> Share:
        """Count a call of the client *name*; `give_back` is to be called when it ends.

        Raises:
            CallFailed: Overloaded, if the client has its share already.
        """
        now = self._clock()
        share = self._shares.get(name)
        if share is None:
            share = self._shares[name] = Share(name, self._burst, now)
            self._forget()
        else:
            self._shares.move_to_end(name)
        if self._rate:
            share.left = min(self._burst, share.left + max(0.0, now - share.at) * self._rate)
            share.at = now
            if share.left < 1:
                self._refused["client_rate"] += 1
                raise overloaded("too many calls a second by this client", (1 - share.left) / self._rate)
        most = self._most[watch]
        if most and share.busy[watch] >= most:
            self._refused["client_watches" if watch else "client_calls"] += 1
            raise overloaded(f"too many {'streams' if watch else 'calls'} at once by this client")
        share.left -= bool(self._rate)
        share.busy[watch] += 1
        return share

    def give_back(self, share: Share, *, watch: bool) -> None:
        """Note that a call has ended."""
        share.busy[watch] -= 1

    def _forget(self) -> None:
        """Forget who was not seen for longest, and takes nothing."""
        if len(self._shares) > _MOST_CLIENTS:
            idle = next((share for share in self._shares.values() if not any(share.busy)), None)
            if idle is not None:
                del self._shares[idle.name]
