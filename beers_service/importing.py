"""Many beers in one call, each accepted or refused by itself, and an answer without the beers."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from beers_service.domain import commands, fields
from beers_service.domain.beer import Beer
from beers_service.domain.commands import Add
from beers_service.domain.errors import InvalidField, RequestIdReused
from beers_service.ports import StoredAnswer
from beers_service.representation import Json
from beers_service.writer import Request, Writer


@dataclass(slots=True)
class Import:
    """What became of the beers of one call.

    Attributes:
        added: How many were added.
        already_added: How many had been added before, under the same request ids.
        refusals: The place of each refused beer in the call, the field at fault, and what is wrong with it.
    """

    added: int = 0
    already_added: int = 0
    refusals: list[tuple[int, str, str]] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """Return how many beers went which way, for the log."""
        return {"added": self.added, "already_added": self.already_added, "refused": len(self.refusals)}

    def answer(self) -> Json:
        """Return the answer of the RPC method."""
        return {
            "added": self.added,
            "already_added": self.already_added,
            "refused": [
                {"index": index, "field": at_fault, "reason": reason} for index, at_fault, reason in self.refusals
            ],
        }

    def take(self, index: int, outcome: list[Beer] | StoredAnswer | Exception) -> None:
        """Count one beer; raises what is neither its fault nor its merit, such as `StoreUnavailable`."""
        match outcome:
            case StoredAnswer():  # of an addition, which nothing but its fields can be refused for
                self.already_added += 1
            case InvalidField():
                self.refusals.append((index, outcome.field, outcome.reason))
            case RequestIdReused():
                self.refusals.append((index, "request_id", str(outcome)))
            case Exception():
                raise outcome
            case _:
                self.added += 1


def import_beers(
    writer: Writer, beers: object, *, correlation_id: str, deadline: float, traceparent: str | None, actor: str | None
) -> Import:
    """Add *beers*, objects with the fields of a new beer and a ``request_id`` each, in one submission.

    Args:
        writer: Carries them out.
        beers: Up to 1,000, as they came.
        correlation_id: The conversation that they are part of.
        deadline: Until when it is worth doing, in seconds of `time.monotonic`.
        traceparent: The trace that they are part of.
        actor: Who adds them.

    Raises:
        InvalidField: If *beers* is no such list; what is wrong with a single beer is among the refusals.
        BeersError: If the store, the time or the writer's queue did not suffice. Some beers may have been added all the
            same: the call can be repeated, since each has its request id.
    """
    if not isinstance(beers, list | tuple) or len(beers) > commands.BATCH_SIZE:
        raise InvalidField("beers", f"must be a list of at most {commands.BATCH_SIZE} beers")
    done = Import()
    places: list[int] = []
    requests: list[Request] = []
    for index, beer in enumerate(beers):
        try:
            request_id, command = _read(beer)
        except InvalidField as refusal:
            done.take(index, refusal)
            continue
        places.append(index)
        requests.append(
            Request((command,), request_id, correlation_id, deadline=deadline, traceparent=traceparent, actor=actor)
        )
    for index, outcome in zip(places, writer.settle(requests), strict=True):
        done.take(index, outcome)
    done.refusals.sort()
    return done


def _read(beer: object) -> tuple[str, Add]:
    if not isinstance(beer, Mapping):
        raise InvalidField("", "must be a beer: an object with a name and a request_id")
    details = dict(beer)
    request_id = fields.request_id(details.pop("request_id", None))
    return request_id, commands.add_described(details)
