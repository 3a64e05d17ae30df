"""The catalogue once more, as simple as it can be: a dict of beers and a list of events; none of our code."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

Beer = dict[str, Any]

UNKNOWN: Mapping[str, Any] = {"brewery": "", "style": "", "abv": None, "ibu": None, "description": ""}
"""The details of a beer of which only the name is known."""


class Refused(Exception):
    """A call comes to nothing. Args: the name of the error and its arguments, as far as they are foreseen."""


@dataclass(frozen=True)
class Asked:
    """One call, in the words of whoever makes it, and what is to be made of them.

    Attributes:
        method: The method's name.
        given: The arguments as they are sent.
        kept: The same as the catalogue keeps them: trimmed, composed, rounded.
        fault: The field of an argument that breaks a rule; empty if none does.
    """

    method: str
    given: Mapping[str, Any]
    kept: Mapping[str, Any]
    fault: str = ""


@dataclass
class PlainCatalogue:
    """What is true after every call that was made."""

    log_id: str
    now: datetime
    beers: dict[int, Beer] = field(default_factory=dict)
    log: list[dict[str, Any]] = field(default_factory=list)
    answers: dict[str, tuple[Any, Any]] = field(default_factory=dict)

    def answer(self, asked: Asked, call_id: str, conversation: str) -> Any:
        """Return what *asked* answers, and do what it does; raises `Refused`."""
        if asked.fault:
            raise Refused("InvalidField", asked.fault)
        kept = dict(asked.kept)
        match asked.method:
            case "get":
                return self._present(self._past(kept["as_of"]) if "as_of" in kept else self.beers, kept["beer_id"])
            case "get_many":
                return [self._present(self.beers, beer_id) for beer_id in kept["beer_ids"]]
            case "import_beers":
                return self._import(kept["beers"], conversation)
            case "ping":
                return {"log_id": self.log_id, "head": len(self.log)}
            case "events":
                return self._events(**kept)
            case command:
                request_id = kept.pop("request_id", None) or call_id
                expected = kept.pop("expected_version", None)
                beers = kept["beers"] if command == "add_many" else [kept]
                content = ["add" if command == "add_many" else command, beers, expected]
                told = self._once(request_id, content, conversation)
                return told if command == "add_many" else told[0]

    def listed(self, **asked: Any) -> list[Beer]:
        """Return all that `list` shows, over all its pages."""
        column, _, direction = asked.get("order_by", "id").partition(" ")

        def place(beer: Beer) -> tuple[Any, int]:
            value = {"id": beer["id"], "name": beer["name"].casefold(), "abv": beer["abv"]}[column]
            return (-1.0 if value is None else value), beer["id"]

        def shown(beer: Beer) -> bool:
            texts = [beer[name].casefold() for name in ("name", "brewery", "style")]
            whole = [(asked.get("brewery"), texts[1]), (asked.get("style"), texts[2])]
            return (
                (beer["removed_at"] is None or asked.get("show_removed", False))
                and all(not wanted or wanted.casefold() == text for wanted, text in whole)
                and any(asked.get("query", "").casefold() in text for text in texts)
            )

        return sorted(filter(shown, self.beers.values()), key=place, reverse=direction == "desc")

    def history(self, beer_id: int) -> list[dict[str, Any]]:
        """Return all events of a beer; raises `Refused` if there are none."""
        found = [event for event in self.log if event["beer_id"] == beer_id]
        if not found:
            raise Refused("BeerNotFound", str(beer_id))
        return found

    def _once(self, request_id: str, content: Any, conversation: str) -> Any:
        """Do what is asked for, unless it was before; then answer as then."""
        if request_id not in self.answers:
            try:
                self.answers[request_id] = (content, self._do(request_id, content, conversation))
            except Refused as refusal:
                self.answers[request_id] = (content, refusal)
        before, answer = self.answers[request_id]
        if before != content:
            raise Refused("RequestIdReused", request_id)
        if isinstance(answer, Refused):
            raise answer
        return answer

    def _do(self, request_id: str, content: Any, conversation: str) -> list[Beer]:
        command, (beer, *more), expected = content
        said = (request_id, conversation)
        if command == "add":
            if expected:
                raise Refused("VersionConflict", "(new)", str(expected), "0")
            return [self._add(each, said) for each in (beer, *more)]
        beer_id = beer["beer_id"]
        known = self.beers.get(beer_id)
        if known is None or (known["removed_at"] is not None and command != "restore"):
            raise Refused("BeerNotFound", str(beer_id))
        if expected is not None and expected != known["version"]:
            raise Refused("VersionConflict", str(beer_id), str(expected), str(known["version"]))
        changes = {name: value for name, value in beer.items() if name != "beer_id" and known[name] != value}
        match command:
            case "rename" if changes:
                self._happened("BeerNameChanged", beer_id, {**changes, "previous_name": known["name"]}, changes, said)
            case "update" if changes:
                self._happened("BeerDetailsChanged", beer_id, changes, changes, said)
            case "remove":
                self._happened("BeerRemoved", beer_id, {}, {"removed_at": self._stamp()}, said)
            case "restore":
                if known["removed_at"] is None:
                    raise Refused("BeerNotRemoved", str(beer_id))
                self._happened("BeerRestored", beer_id, {}, {"removed_at": None}, said)
        return [self.beers[beer_id]]

    def _add(self, beer: Beer, said: tuple[str, str]) -> Beer:
        data = {"name": beer["name"], **UNKNOWN, **beer}
        beer_id = len(self.beers) + 1
        self.beers[beer_id] = {"id": beer_id, "version": 0, "added_at": self._stamp(), "removed_at": None, **data}
        self._happened("BeerAdded", beer_id, data, {}, said)
        return self.beers[beer_id]

    def _happened(self, kind: str, beer_id: int, data: Beer, changes: Beer, said: tuple[str, str]) -> None:
        version = self.beers[beer_id]["version"] + 1
        stamped = {"version": version, "changed_at": self._stamp()}
        self.beers[beer_id] = {**self.beers[beer_id], **changes, **stamped}
        self.log.append(
            {
                "id": f"{self.log_id}:{len(self.log) + 1}",
                "type": kind,
                "position": len(self.log) + 1,
                "beer_id": beer_id,
                "version": version,
                "time": self._stamp(),
                "request_id": said[0],
                "correlation_id": said[1],
                "data": data,
                "beer": self.beers[beer_id],
            }
        )

    def _stamp(self) -> str:
        """Return the time of what happens now, which is never before what has happened."""
        stamp = self.now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return max(stamp, self.log[-1]["time"]) if self.log else stamp

    def _past(self, moment: int | str) -> dict[int, Beer]:
        """Return the beers as they were at a position or a time."""
        if isinstance(moment, int) and moment > len(self.log):
            raise Refused("PositionOutOfRange", str(moment), str(len(self.log)), self.log_id)
        mark = "position" if isinstance(moment, int) else "time"
        return {event["beer_id"]: event["beer"] for event in self.log if event[mark] <= moment}

    def _import(self, beers: Sequence[Beer], conversation: str) -> dict[str, Any]:
        counts = {"added": 0, "already_added": 0}
        refused = []
        for index, beer in enumerate(beers):
            details = dict(beer)
            request_id = details.pop("request_id")
            known = request_id in self.answers
            if details.pop("fault"):
                refused.append({"index": index, "field": "name"})
                continue
            try:
                self._once(request_id, ["add", [details], None], conversation)
            except Refused:
                refused.append({"index": index, "field": "request_id"})
            else:
                counts["already_added" if known else "added"] += 1
        return {**counts, "refused": refused}

    def _events(
        self, after: int = 0, limit: int = 100, types: Sequence[str] = (), beer_ids: Sequence[int] = ()
    ) -> dict[str, Any]:
        head = len(self.log)
        if after > head:
            raise Refused("PositionOutOfRange", str(after), str(head), self.log_id)
        found = [
            event
            for event in self.log[after:]
            if (not types or event["type"] in types) and (not beer_ids or event["beer_id"] in beer_ids)
        ]
        through = head if len(found) < limit else found[limit - 1]["position"]
        return {"events": found[:limit], "through": through, "head": head, "log_id": self.log_id}

    @staticmethod
    def _present(beers: Mapping[int, Beer], beer_id: int) -> Beer:
        beer = beers.get(beer_id)
        if beer is None or beer["removed_at"] is not None:
            raise Refused("BeerNotFound", str(beer_id))
        return beer
