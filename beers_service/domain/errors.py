"""Everything that can be wrong with a call, as one tree. It is part of the wire contract.

    BeersError
    ├── InvalidField(field, reason)                a value breaks a rule of the domain
    ├── RequestIdReused(request_id)                the id stands for another command already
    ├── BeerNotFound(beer_id)                      no such beer, or it has been removed
    ├── BeerNotRemoved(beer_id)                    there is nothing to restore
    ├── VersionConflict(beer_id, expected, actual) somebody else changed the beer in the meantime
    ├── PositionOutOfRange(position, head, log_id) the log does not reach that far
    ├── Overloaded(reason)                         too much waits already; nothing was done
    ├── StoreUnavailable(reason)                   the store is away; nothing was done
    ├── OutcomeUnknown(request_id)                 the store went away while committing
    └── DeadlinePassed(request_id)                 the caller's time ran out

Nameko sends an exception as its class name and its `args`, so these take positional strings, hand all of them to
`Exception`, and word their message in ``__str__``. The gRPC bridge maps them by their names.
"""


class BeersError(Exception):
    """What every error of the catalogue is."""


class InvalidField(BeersError):
    """A value breaks a rule. Args: the field's name as the caller knows it, and what is wrong with the value."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field = field
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}"


class RequestIdReused(BeersError):
    """The request id was used before, with a command that is not this one. Args: the request id."""

    def __init__(self, request_id: str) -> None:
        super().__init__(request_id)

    def __str__(self) -> str:
        return f"request_id {self.args[0]} was used for another command; give each command an id of its own"


class BeerNotFound(BeersError):
    """There is no such beer, or it has been removed. Args: the beer's id."""

    def __init__(self, beer_id: str) -> None:
        super().__init__(beer_id)

    def __str__(self) -> str:
        return f"beer {self.args[0]} not found"


class BeerNotRemoved(BeersError):
    """Only a removed beer can be restored. Args: the beer's id."""

    def __init__(self, beer_id: str) -> None:
        super().__init__(beer_id)

    def __str__(self) -> str:
        return f"beer {self.args[0]} is not removed, so it cannot be restored"


class VersionConflict(BeersError):
    """The beer is not as the caller expected it. Args: the beer's id, the expected and the actual version."""

    def __init__(self, beer_id: str, expected: str, actual: str) -> None:
        super().__init__(beer_id, expected, actual)

    def __str__(self) -> str:
        beer_id, expected, actual = self.args
        return f"beer {beer_id} is at version {actual}, not {expected}; read it again and decide anew"


class PositionOutOfRange(BeersError):
    """The position lies beyond the log's head. Args: the position, the head, the log's id."""

    def __init__(self, position: str, head: str, log_id: str) -> None:
        super().__init__(position, head, log_id)

    def __str__(self) -> str:
        position, head, log_id = self.args
        return f"position {position} lies beyond the head {head} of log {log_id}"


class Overloaded(BeersError):
    """Too much waits already; nothing was done. Args: what is full."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)

    def __str__(self) -> str:
        return f"{self.args[0]}; nothing was done, try again in a moment"


class StoreUnavailable(BeersError):
    """The store does not answer; nothing was done. Args: what happened, without secrets."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)

    def __str__(self) -> str:
        return f"the store is unavailable ({self.args[0]}); nothing was done, try again with the same request_id"


class OutcomeUnknown(BeersError):
    """The store went away during the commit: the command has run or has not. Args: the request id."""

    def __init__(self, request_id: str) -> None:
        super().__init__(request_id)

    def __str__(self) -> str:
        return (
            f"the store went away while request {self.args[0]} was being committed; "
            "send it again with the same request_id to learn its outcome"
        )


class DeadlinePassed(BeersError):
    """The caller's time ran out. Args: the request id, empty for a read."""

    def __init__(self, request_id: str) -> None:
        super().__init__(request_id)

    def __str__(self) -> str:
        again = "; send it again with the same request_id to learn its outcome" if self.args[0] else ""
        return f"the deadline has passed{again}"


REFUSALS = (BeerNotFound, BeerNotRemoved, VersionConflict)
"""The errors that a decision can end in: the same command on the same beer ends so again."""
