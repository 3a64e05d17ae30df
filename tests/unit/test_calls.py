"""What the RPC methods make of the store, where that takes more than a broker to see."""

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
import structlog

from beers_service import paging, reads
from beers_service.calls import Calls
from beers_service.domain.errors import BeerNotFound, InvalidField
from beers_service.methods import Call
from beers_service.paging import size_of
from beers_service.store.memory import MemoryStore
from beers_service.writer import Writer

NOW = datetime(2026, 11, 23, tzinfo=UTC)


LONG = "ü" * 10_000


class Catalogue:
    """Calls on a store that forgets everything; each is made by itself."""

    def __init__(self) -> None:
        store = MemoryStore()
        self.calls = Calls(Writer(store, store, lambda: NOW, lambda: None), store, structlog.get_logger())
        self._count = 0

    def __call__(self, method: str, **arguments: Any) -> Any:
        self._count += 1
        (answer,) = self.calls.run([Call(method, arguments, f"call-{self._count}", "c")])
        return answer

    def pages(self, method: str, items: str, **arguments: Any) -> list[list[Any]]:
        """Read page by page to the end."""
        pages: list[list[Any]] = []
        token = ""
        while not pages or token:
            answer = self(method, page_token=token, **arguments)
            pages.append(answer[items])
            token = answer["next_page_token"]
        return pages


@pytest.fixture
def catalogue() -> Catalogue:
    return Catalogue()


def a_megabyte(page: list[Any]) -> bool:
    return 900_000 < len(orjson.dumps(page)) < 1_100_000


@pytest.mark.parametrize("order", ["id", "name desc"])
def test_a_page_of_beers_ends_after_a_megabyte_and_none_is_left_out(catalogue: Catalogue, order: str) -> None:
    for number in range(120):
        catalogue("add", name=f"{number:03}", description=LONG)
    pages = catalogue.pages("list", "beers", page_size=1000, order_by=order)
    names = [beer["name"] for page in pages for beer in page]
    assert names == [f"{number:03}" for number in sorted(range(120), reverse="desc" in order)]
    assert len(pages) == 3
    assert all(a_megabyte(page) for page in pages[:-1])


def test_a_page_of_a_history_ends_after_a_megabyte_and_nothing_is_left_out(catalogue: Catalogue) -> None:
    catalogue("add", name="b")
    for number in range(120):
        catalogue("update", beer_id=1, description=f"{number:03}{LONG[3:]}")
    pages = catalogue.pages("history", "events", beer_id=1, page_size=1000)
    assert [event["version"] for page in pages for event in page] == list(range(1, 122))
    assert all(a_megabyte(page) for page in pages[:-1])
    assert len(pages) == 3


@pytest.mark.parametrize("types", [None, ["BeerAdded"]])
def test_a_call_of_events_ends_after_a_megabyte_and_says_how_far_it_came(catalogue: Catalogue, types: Any) -> None:
    for number in range(120):
        catalogue("add", name=str(number), description=LONG)
    catalogue("remove", beer_id=1)
    pages: list[list[Any]] = []
    through = 0
    while through < 121:
        answer = catalogue("events", after=through, limit=1000, types=types)
        pages.append(answer["events"])
        through = answer["through"]
        if through < 121:
            assert through == pages[-1][-1]["position"]
    assert len(pages) == 3
    assert [event["position"] for page in pages for event in page] == list(range(1, 121 if types else 122))
    assert all(a_megabyte(page) for page in pages[:-1])


def test_a_page_holds_at_least_one_item(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "PAGE_BYTES", 10)
    for number in range(3):
        catalogue("add", name=str(number))
    assert [len(page) for page in catalogue.pages("list", "beers")] == [1, 1, 1]
    assert [len(catalogue("events", after=after)["events"]) for after in (0, 2, 3)] == [1, 1, 0]


def test_beers_that_no_client_could_read_at_once_are_refused_and_not_added(catalogue: Catalogue) -> None:
    many = [{"name": str(number), "description": LONG} for number in range(200)]
    refused = catalogue("add_many", beers=many)
    assert isinstance(refused, InvalidField)
    assert (refused.field, refused.reason) == ("beers", "are 4.1 MB together; add fewer at a time")
    assert catalogue("ping")["head"] == 0
    assert len(catalogue("add_many", beers=many[:190])) == 190
    assert len(orjson.dumps(catalogue("get_many", beer_ids=list(range(1, 191))))) < 4_000_000
    catalogue("add_many", beers=many[:10])
    refused = catalogue("get_many", beer_ids=list(range(1, 201)))
    assert isinstance(refused, InvalidField)
    assert (refused.field, refused.reason) == ("beer_ids", "are those of 4.1 MB of beers; ask for fewer at a time")


def test_what_a_document_takes_is_estimated_well_enough(catalogue: Catalogue) -> None:
    beer = catalogue("add", name="Bière", brewery="b", abv=5.5, description="ß" * 100)
    (event,) = catalogue("events")["events"]
    for document in (beer, event):
        assert 0.9 < size_of(document) / len(orjson.dumps(document)) < 1.3


def test_a_page_size_is_a_number_that_grpc_can_carry(catalogue: Catalogue) -> None:
    refused = catalogue("list", page_size=-1)
    assert isinstance(refused, InvalidField)
    assert refused.reason == "must be a whole number from 0 to 2147483647"


def test_a_text_is_looked_for_in_calls_that_are_all_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reads, "TEXT_MAXIMUM", 10)
    catalogue = Catalogue()
    for number in range(1, 26):
        catalogue("add", name=f"beer {number}")

    def found(**arguments: Any) -> list[list[int]]:
        return [[beer["id"] for beer in page] for page in catalogue.pages("list", "beers", **arguments)]

    assert found(query="beer 2", page_size=4) == [[2], [20], [21, 22, 23, 24], [25]]
    assert found(query="stout") == [[], [], []]
    assert found(query="beer 1", order_by="name desc") == [[], [19, 18, 17, 16, 15, 14], [13, 12, 11, 10, 1]]


def test_a_rare_event_is_looked_for_in_calls_that_are_all_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reads, "SCAN_MAXIMUM", 10)
    store = MemoryStore()
    run = Calls(Writer(store, store, lambda: NOW, lambda: None), store, structlog.get_logger())
    methods = [("add", {"name": "b"})] * 25 + [("remove", {"beer_id": 3})]
    run.run([Call(method, arguments, f"call-{index}", "c") for index, (method, arguments) in enumerate(methods)])

    def page(after: int) -> tuple[list[int], int]:
        (answer,) = run.run([Call("events", {"after": after, "types": ["BeerRemoved"]}, "read", "c")])
        return [event["position"] for event in answer["events"]], answer["through"]

    assert [page(0), page(10), page(20)] == [([], 10), ([], 20), ([26], 26)]


def test_a_call_of_nobody_that_could_be_kept_is_refused_alone_and_only_if_it_is_a_command() -> None:
    store = MemoryStore()
    run = Calls(Writer(store, store, lambda: NOW, lambda: None), store, structlog.get_logger())
    row = {"name": "b", "request_id": "import/0"}
    answers = run.run(
        [
            Call("add", {"name": "a"}, "call-0", "c", user_id="till 3"),
            Call("add", {"name": "a"}, "call-1", "c", user_id="till\n3"),
            Call("import_beers", {"beers": [row]}, "call-2", "c", user_id=["till 3"]),
            Call("import_beers", {"beers": [row]}, "call-3", "c", user_id=7),
            Call("get", {"beer_id": 1}, "call-4", "c", user_id=["till 3"]),
            Call("add", {"name": "a"}, "call-5", "c"),
        ]
    )
    refused = [answer.field if isinstance(answer, InvalidField) else None for answer in answers]
    assert refused == [None, "user_id", "user_id", None, None, None]
    assert answers[4]["id"] == 1
    assert [event.actor for event in store.events(0, 10)] == ["till 3", "7", None]
    # What was wrong with the caller is not the answer to its request.
    (again,) = run.run([Call("add", {"name": "a"}, "call-1", "c", user_id="till 3")])
    assert again["id"] == 4


@pytest.mark.parametrize(
    ("given", "logged"),
    [
        (None, "call-0"),
        ("import 7", "import 7"),
        ("", "(malformed)"),
        ("\x1b[2J", "(malformed)"),
        ("x" * 3_000_000, "(malformed)"),
        ({"a": ["b"]}, "(malformed)"),
    ],
)
def test_only_a_request_id_that_is_one_reaches_the_log(given: Any, logged: str) -> None:
    store = MemoryStore()
    lines = structlog.testing.LogCapture()
    logger = structlog.wrap_logger(None, processors=[lines])
    run = Calls(Writer(store, store, lambda: NOW, lambda: None), store, logger)
    run.run([Call("add", {"name": "b", "request_id": given}, "call-0", "c"), Call("\x1b[2J", {}, "call-1", "c")])
    command, read = lines.entries
    assert command["request_id"] == logged
    assert read["method"] == "(malformed)"


def test_what_is_read_before_an_import_in_one_message_does_not_show_it(catalogue: Catalogue) -> None:
    beers = [{"name": "Jever", "request_id": "jever-1"}]
    read, imported = (Call("get", {"beer_id": 1}, "a", "c"), Call("import_beers", {"beers": beers}, "b", "c"))
    before, done, after = catalogue.calls.run([read, imported, read])
    assert (type(before), done["added"], after["name"]) == (BeerNotFound, 1, "Jever")
