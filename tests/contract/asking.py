"""Calls as hypothesis makes them up: good ones, and some with one argument that breaks a rule."""

from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

from .plain_catalogue import UNKNOWN, Asked

Spoken = tuple[Any, Any]
"""A value as it is sent, and as it is kept."""

NAMES: Sequence[Spoken] = [
    ("Punk IPA", "Punk IPA"),
    ("  punk ipa\u2003", "punk ipa"),
    ("O\u0308l", "Öl"),
    ("STRAẞE", "STRAẞE"),
    ("Zwickl 100%_\\'", "Zwickl 100%_\\'"),
    ("🍺" * 200, "🍺" * 200),
]
TEXTS: Sequence[Spoken] = [("BrewDog", "BrewDog"), ("brewdog ", "brewdog"), ("", ""), ("Pilsner", "Pilsner")]
NUMBERS: Sequence[Spoken] = [(5.6, 5.6), (4.999, 5.0), (0, 0.0), (-0.0, 0.0), (100, 100.0), (None, None)]
RULES: Mapping[str, Sequence[Spoken]] = {
    "brewery": TEXTS,
    "style": TEXTS,
    "abv": NUMBERS,
    "ibu": NUMBERS,
    "description": [*TEXTS, ("two\nlines", "two\nlines")],
}
NO_NAMES: Sequence[Any] = ["", " \u200b", "a\nb", "x" * 201, None, 7, ["Punk"], {}]
NO_IDS: Sequence[Any] = [0, -1, 2**63, "1", 1.5, None, True, [1]]
NO_DETAILS: Sequence[tuple[str, Any]] = [
    ("brewery", "x" * 201),
    ("style", 7),
    ("abv", 100.01),
    ("abv", "5"),
    ("ibu", -1),
    ("ibu", True),
    ("description", "\0"),
]
TYPES = ["BeerAdded", "BeerNameChanged", "BeerDetailsChanged", "BeerRemoved", "BeerRestored"]

beer_ids = st.integers(1, 4)
request_ids = st.sampled_from([f"request-{number}" for number in range(4)])


@st.composite
def details(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """Make up some details: as given, as kept."""
    chosen = draw(st.lists(st.sampled_from(sorted(RULES)), unique=True, max_size=3))
    spoken = {name: draw(st.sampled_from(RULES[name])) for name in chosen}
    return {name: given for name, (given, _) in spoken.items()}, {name: kept for name, (_, kept) in spoken.items()}


@st.composite
def new_beer(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """Make up a beer to be added."""
    given, kept = draw(details())
    name, cleaned = draw(st.sampled_from(NAMES))
    return {"name": name, **given}, {"name": cleaned, **UNKNOWN, **kept}


@st.composite
def commands(draw: st.DrawFn) -> Asked:
    """Make up a good command, with a request id that may have been used."""
    method = draw(st.sampled_from(["add", "add", "rename", "update", "remove", "restore", "add_many"]))
    given: dict[str, Any] = {}
    kept: dict[str, Any] = {}
    if method == "add":
        given, kept = draw(new_beer())
    elif method == "add_many":
        beers = draw(st.lists(new_beer(), min_size=1, max_size=3))
        given, kept = {"beers": [beer for beer, _ in beers]}, {"beers": [beer for _, beer in beers]}
    else:
        given["beer_id"] = kept["beer_id"] = draw(beer_ids)
    if method == "rename":
        given["name"], kept["name"] = draw(st.sampled_from(NAMES))
    elif method == "update":
        changes = draw(details())
        given, kept = {**given, **changes[0]}, {**kept, **changes[1]}
    if method != "add_many" and draw(st.integers(0, 3)) == 0:
        given["expected_version"] = kept["expected_version"] = draw(st.integers(0, 4))
    if draw(st.booleans()):
        given["request_id"] = kept["request_id"] = draw(request_ids)
    return Asked(method, given, kept)


@st.composite
def imports(draw: st.DrawFn) -> Asked:
    """Make up an import, some of whose beers may not pass."""
    given, kept = [], []
    for beer, cleaned in draw(st.lists(new_beer(), max_size=4)):
        known = {"request_id": draw(request_ids)}
        fault = draw(st.integers(0, 4)) == 0
        given.append({**beer, **known, **({"name": draw(st.sampled_from(NO_NAMES))} if fault else {})})
        kept.append({**cleaned, **known, "fault": fault})
    return Asked("import_beers", {"beers": given}, {"beers": kept})


@st.composite
def faults(draw: st.DrawFn) -> Asked:
    """Make up a call with one argument that breaks a rule: it does nothing, and its request id stays free."""
    detail, value = draw(st.sampled_from(NO_DETAILS))
    bad_name = {"name": draw(st.sampled_from(NO_NAMES))}
    bad_id = {"beer_id": draw(st.sampled_from(NO_IDS))}
    known = {"request_id": draw(request_ids)}
    method, given, fault = draw(
        st.sampled_from(
            [
                ("add", {**bad_name, **known}, "name"),
                ("add", {"name": "Punk", detail: value, **known}, detail),
                ("add", {"name": "Punk", "colour": "gold"}, "colour"),
                ("add", known, "name"),
                ("add", {"name": "Punk", "request_id": "ü"}, "request_id"),
                ("add", {"name": "Punk", "expected_version": -1}, "expected_version"),
                ("add_many", {"beers": [{"name": "Punk"}, bad_name], **known}, "beers[1].name"),
                ("add_many", {"beers": []}, "beers"),
                ("import_beers", {"beers": "Punk"}, "beers"),
                ("rename", {"beer_id": 1, **bad_name, **known}, "name"),
                ("rename", {**bad_id, "name": "Punk"}, "beer_id"),
                ("update", {"beer_id": 1, detail: value, **known}, detail),
                ("update", {"beer_id": 1, "name": "Punk"}, "name"),
                ("remove", {**bad_id, **known}, "beer_id"),
                ("restore", bad_id, "beer_id"),
                ("get", bad_id, "beer_id"),
                ("get", {"beer_id": 1, "as_of": "yesterday"}, "as_of"),
                ("get_many", {"beer_ids": []}, "beer_ids"),
                ("list", {"order_by": "colour"}, "order_by"),
                ("list", {"page_token": "none"}, "page_token"),
                ("list", {"page_size": -1}, "page_size"),
                ("history", bad_id, "beer_id"),
                ("events", {"after": -1}, "after"),
                ("events", {"types": ["BeerDrunk"]}, "types"),
                ("brew", {}, "method"),
            ]
        )
    )
    return Asked(method, given, given, fault)


@st.composite
def reads(draw: st.DrawFn) -> Asked:
    """Make up a read whose answer is one page."""
    kind = draw(st.sampled_from(["get", "past", "get_many", "events", "ping"]))
    asked: dict[str, Any] = {}
    match kind:
        case "get" | "past":
            asked = {"beer_id": draw(beer_ids)}
            if kind == "past":
                asked["as_of"] = draw(st.integers(0, 20))
        case "get_many":
            asked = {"beer_ids": draw(st.lists(beer_ids, min_size=1, max_size=3))}
        case "events":
            asked = {"after": draw(st.integers(0, 12)), "limit": draw(st.integers(1, 5))}
            if draw(st.booleans()):
                asked["types"] = draw(st.lists(st.sampled_from(TYPES), max_size=2))
                asked["beer_ids"] = draw(st.lists(beer_ids, max_size=2))
    return Asked("get" if kind == "past" else kind, asked, asked)


filters = st.fixed_dictionaries(
    {"page_size": st.integers(1, 4)},
    optional={
        "query": st.sampled_from(["punk", "ÖL", "strasse", "%", "brewdog"]),
        "brewery": st.sampled_from(["BREWDOG", "brew"]),
        "style": st.just("pilsner"),
        "order_by": st.sampled_from(["id", "id desc", "name", "name desc", "abv", "abv desc"]),
        "show_removed": st.booleans(),
    },
)
"""What `list` is asked for."""

messages = st.lists(st.one_of(commands(), commands(), commands(), reads(), imports(), faults()), min_size=1, max_size=6)
"""The calls of one message."""
