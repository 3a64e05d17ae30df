"""Whether calls can be served, and whether it is worth trying: what health and the circuit breaker go by."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from grpc_bridge.errors import CallFailed


class Absence(Enum):
    """What is missing. The value is the sentence for people."""

    BROKER = "the message broker is away"
    SERVICE = "no service instance is listening"
    ANSWERS = "no service instance answers"
    STORE = "the service's store is away"


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds to wait before drawing a conclusion.

    Attributes:
        silence: Without any answer of the service, before it counts as away.
        service: From then on, or from when its last instance left, until calls fail at once.
        broker: Without a connection to the broker, until calls fail at once. Longer than a restart takes.
        reunion: After the broker came back, for the service to find it as well, before its absence counts.
    """

    silence: float = 3.0
    service: float = 2.0
    broker: float = 6.0
    reunion: float = 4.0


class Availability:
    """What is known of the broker and the service, and since when.

    It starts with everything away. Every method takes the present time of the same monotonic clock. What is away is
    told at once (health); only when it has been away for a while are calls refused (the breaker), since a call
    outlives a short absence. The next answer closes the breaker again.

    Attributes:
        absence: What is missing; None while calls can be served.
        refusing: Whether the breaker is open: calls are to fail at once.
    """

    def __init__(self, now: float, patience: Patience | None = None) -> None:
        self.absence: Absence | None = Absence.BROKER
        self.refusing = False
        self._patience = patience or Patience()
        self._since = now
        self._connected_at = float("-inf")
        self._last_answer = now
        self._on_change: list[Callable[[], None]] = []

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call *listener* whenever `absence` or `refusing` has changed."""
        self._on_change.append(listener)

    def connected(self, now: float) -> None:
        """Note that the broker is connected; the service has yet to answer."""
        self._connected_at = now
        self._become(Absence.ANSWERS, now)

    def disconnected(self, now: float) -> None:
        """Note that the broker is not connected any more."""
        self._become(Absence.BROKER, now)

    def counted(self, consumers: int, now: float) -> None:
        """Note how many service instances listen."""
        if self.absence is Absence.BROKER:
            return
        if not consumers:
            self._become(Absence.SERVICE, now)
        elif self.absence is Absence.SERVICE:
            self._become(Absence.ANSWERS, now)

    def answered(self, now: float) -> None:
        """Note an answer to a call.

        It ends a silence, but proves no more: the last answers of a service that stops come after it has left.
        """
        self._last_answer = now
        if self.absence is Absence.ANSWERS:
            self._become(None, now)

    def answered_ping(self, now: float, *, store: bool) -> None:
        """Note the answer to a ping, and whether the service could read its *store*."""
        self._last_answer = now
        if self.absence in (Absence.ANSWERS, Absence.STORE, None):
            self._become(None if store else Absence.STORE, now)

    def tick(self, now: float, late: float = 0.0) -> None:
        """Draw the conclusions from what has not happened.

        Args:
            now: The present time.
            late: How many seconds later this came than it was due. A bridge that was busy for as long has not listened
                either, so they are not silence.
        """
        self._last_answer = min(now, self._last_answer + late)
        if self.absence in (None, Absence.STORE) and now - self._last_answer > self._patience.silence:
            self._become(Absence.ANSWERS, now)
        if not self.refusing and self.absence is not None and now >= self._refuse_at(self.absence):
            self.refusing = True
            self._changed()

    def failure(self) -> CallFailed:
        """Return the failure of a call that what is missing has stopped."""
        name = "BrokerUnavailable" if self.absence is Absence.BROKER else "ServiceUnavailable"
        reason = (self.absence or Absence.ANSWERS).value
        return CallFailed(name, (), f"{reason}; try again, a command with the same request_id")

    def _refuse_at(self, absence: Absence) -> float:
        match absence:
            case Absence.BROKER:
                return self._since + self._patience.broker
            case Absence.STORE:
                return float("inf")  # the service answers, and for each call knows best
            case _:
                return max(self._since, self._connected_at + self._patience.reunion) + self._patience.service

    def _become(self, absence: Absence | None, now: float) -> None:
        if absence is self.absence:
            return
        # The service has been away from the moment that its instances left, whether or not one is seen since.
        if not (self.absence is Absence.SERVICE and absence is Absence.ANSWERS):
            self._since = now
        self.absence = absence
        if absence is None or absence is Absence.STORE:
            self.refusing = False
        self._changed()

    def _changed(self) -> None:
        for listener in self._on_change:
            listener()
