"""What a Python team sees: the RPC methods through stock clients."""

import base64
import threading
from typing import Any

import orjson
import pytest
from nameko.exceptions import IncorrectSignature, MethodNotFound, RemoteError
from nameko.standalone.rpc import ClusterRpcProxy

from tests.processes import Process, Start
from tests.wire import Wire

TIMES = ("added_at", "changed_at")


@pytest.fixture(autouse=True)
def service(start: Start) -> Process:
    return start()


def without_times(beer: dict[str, Any]) -> dict[str, Any]:
    return {field: value for field, value in beer.items() if field not in TIMES}


def test_a_beer_lives(beers: Any) -> None:
    beer = beers.add("Punk IPA", brewery="BrewDog", abv=5.6)
    assert without_times(beer) == {
        "id": 1, "name": "Punk IPA", "brewery": "BrewDog", "style": "", "abv": 5.6, "ibu": None,
        "description": "", "version": 1, "removed_at": None,
    }  # fmt: skip
    assert beer["added_at"].endswith("Z")
    assert beers.rename(1, "Punk")["name"] == "Punk"
    assert beers.update(1, abv=5.4, style="IPA", brewery=None)["version"] == 3
    assert beers.remove(1, expected_version=3)["removed_at"] is not None
    with pytest.raises(RemoteError, match="BeerNotFound beer 1 not found"):
        beers.get(1)
    assert beers.restore(1)["version"] == 5
    assert [event["type"] for event in beers.history(1)["events"]] == [
        "BeerAdded", "BeerNameChanged", "BeerDetailsChanged", "BeerRemoved", "BeerRestored",
    ]  # fmt: skip
    assert beers.history(1)["events"][2]["data"] == {"abv": 5.4, "style": "IPA", "brewery": ""}


def test_a_beer_can_be_read_as_it_was(beers: Any) -> None:
    added = beers.add("Punk IPA")
    renamed = beers.rename(1, "Punk")
    assert beers.get(1, as_of=1) == added
    assert beers.get(1, as_of=added["added_at"]) == added
    assert beers.get(1, as_of=2) == renamed
    with pytest.raises(RemoteError, match="BeerNotFound"):
        beers.get(1, as_of=0)
    with pytest.raises(RemoteError, match="PositionOutOfRange position 3 lies beyond the head 2"):
        beers.get(1, as_of=3)
    for wrong in ("yesterday", "2026-11-23T12:00:00", -1, 1.5):
        with pytest.raises(RemoteError, match="InvalidField as_of"):
            beers.get(1, as_of=wrong)


def test_many_beers_are_added_together_or_not_at_all(beers: Any) -> None:
    assert [beer["id"] for beer in beers.add_many([{"name": "a"}, {"name": "b", "abv": 1}])] == [1, 2]
    with pytest.raises(RemoteError, match=r"InvalidField beers\[1\].abv: must be a number from 0 to 100"):
        beers.add_many([{"name": "c"}, {"name": "d", "abv": 100.01}])
    assert beers.ping()["head"] == 2
    assert [beer["name"] for beer in beers.get_many([2, 1, 2])] == ["b", "a", "b"]
    with pytest.raises(RemoteError, match="BeerNotFound beer 3"):
        beers.get_many([1, 3])


def test_beers_are_imported_each_by_itself_and_counted(beers: Any, service: Process) -> None:
    rows: list[dict[str, Any]] = [
        {"name": f"beer {number}", "request_id": f"import/{number}"} for number in range(1000)
    ]
    assert beers.import_beers(rows) == {"added": 1000, "already_added": 0, "refused": []}
    rows[1] = {"name": "beer 1", "abv": -1, "request_id": "another"}
    refused = [{"index": 1, "field": "abv", "reason": "must be a number from 0 to 100"}]
    assert beers.import_beers(rows) == {"added": 0, "already_added": 999, "refused": refused}
    assert beers.execute([{"method": "import_beers", "kwargs": {"beers": rows}}, {"method": "ping"}]) == [
        {"result": {"added": 0, "already_added": 999, "refused": refused}, "error": None},
        {"result": beers.ping(), "error": None},
    ]
    assert beers.ping()["head"] == 1000
    with pytest.raises(RemoteError, match="InvalidField beers: must be a list of at most 1000 beers"):
        beers.import_beers([*rows, {}])
    service.await_line("command", 3)
    lines = [line for line in service.lines() if line.get("method") == "import_beers"]
    counts = [(line["added"], line["already_added"], line["refused"]) for line in lines[:2]]
    assert counts == [(1000, 0, 0), (0, 999, 1)]


def test_pages_follow_each_other_and_refuse_other_arguments(beers: Any) -> None:
    beers.add_many([{"name": f"beer {number}", "style": "IPA"} for number in range(5)])
    first = beers.list(page_size=3, style="ipa")
    second = beers.list(page_size=3, style="ipa", page_token=first["next_page_token"])
    assert [beer["id"] for beer in first["beers"] + second["beers"]] == [1, 2, 3, 4, 5]
    assert second["next_page_token"] == ""
    with pytest.raises(RemoteError, match="InvalidField page_token: belongs to a listing with other arguments"):
        beers.list(page_size=3, style="stout", page_token=first["next_page_token"])
    digest = orjson.loads(base64.urlsafe_b64decode(first["next_page_token"] + "=="))[0]
    forged = [
        base64.urlsafe_b64encode(orjson.dumps([digest, *place])).decode()
        for place in ([1, 2**63], [1, True], [True, 1], [1], [1, 2, 3], ["a", 1], [1.5, 1], [-1, 1], [None, 1])
    ]
    for token in (*forged, "x", "%%%", "bm9uc2Vuc2U", first["next_page_token"][:-3]):
        with pytest.raises(RemoteError, match="InvalidField page_token"):
            beers.list(style="ipa", page_token=token)
    listings: list[dict[str, Any]] = [{"order_by": "taste"}, {"page_size": -1}, {"show_removed": "yes"}, {"query": 1}]
    for arguments in listings:
        with pytest.raises(RemoteError, match=f"InvalidField {next(iter(arguments))}"):
            beers.list(**arguments)


def test_history_has_pages_too(beers: Any) -> None:
    beers.add("a")
    for name in "bcd":
        beers.rename(1, name)
    first = beers.history(1, page_size=3)
    second = beers.history(1, page_size=3, page_token=first["next_page_token"])
    assert [event["version"] for event in first["events"] + second["events"]] == [1, 2, 3, 4]
    with pytest.raises(RemoteError, match="BeerNotFound"):
        beers.history(2)


def test_events_can_be_read_from_any_position(beers: Any) -> None:
    beers.add("a")
    beers.rename(1, "b")
    page = beers.events(after=1)
    assert ([event["position"] for event in page["events"]], page["head"]) == ([2], 2)
    assert page["events"][0]["id"] == f"{page['log_id']}:2"
    assert beers.events(types=["BeerNameChanged"])["events"] == page["events"]
    assert beers.events(beer_ids=[1])["through"] == 2
    assert beers.events(beer_ids=[2]) == page | {"events": []}
    assert beers.events(limit=1)["through"] == 1
    with pytest.raises(RemoteError, match=r"InvalidField beer_ids\[1\]"):
        beers.events(beer_ids=[1, 0])
    with pytest.raises(RemoteError, match="PositionOutOfRange"):
        beers.events(after=3)
    unknown: list[Any] = [["BeerDrunk"], [{}], "BeerAdded"]
    for types in unknown:
        with pytest.raises(RemoteError, match="InvalidField types"):
            beers.events(types=types)


def test_wrong_arguments_are_named(beers: Any) -> None:
    with pytest.raises(IncorrectSignature, match="flavour"):
        beers.add(name="a", flavour="hoppy")
    with pytest.raises(IncorrectSignature, match="name"):
        beers.add()
    with pytest.raises(RemoteError, match="InvalidField flavour: is no detail"):
        beers.update(1, flavour="hoppy")
    with pytest.raises(RemoteError, match="InvalidField method: is no detail"):
        beers.update(1, method="x")
    with pytest.raises(MethodNotFound, match="drink"):
        beers.drink(1)
    with pytest.raises(Exception, match=r"body.kwargs.abv is not a number that JSON knows"):
        beers.add("a", abv=float("nan"))
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"name": " "}, "name"), ({"name": "x" * 201}, "name"), ({"name": "a\x00b"}, "name"),
        ({"name": "a", "abv": 100.01}, "abv"), ({"name": "a", "abv": -1}, "abv"),
        ({"name": "a", "request_id": ""}, "request_id"), ({"name": "a", "expected_version": -1}, "expected_version"),
    ]  # fmt: skip
    for arguments, field in wrong:
        with pytest.raises(RemoteError, match=f"InvalidField {field}"):
            beers.add(**arguments)
    assert beers.ping()["head"] == 0


def test_many_calls_in_one_message_have_an_answer_each(beers: Any) -> None:
    answers = beers.execute(
        [
            {"method": "add", "kwargs": {"name": "a"}},
            {"method": "add", "kwargs": {"name": ""}},
            {"method": "get", "kwargs": {"beer_id": 1}},
            {"method": "rename", "kwargs": {"beer_id": 1, "name": "b"}},
            {"method": "drink"},
            {"method": "get", "kwargs": {"beer_id": 1, "flavour": 1}},
            {"method": "get", "kwargs": {}},
            {"method": "ping", "deadline": 1.0},
        ]
    )
    assert [answer["error"] and answer["error"]["exc_type"] for answer in answers] == [
        None, "InvalidField", None, None, "InvalidField", "InvalidField", "InvalidField", "DeadlinePassed",
    ]  # fmt: skip
    assert answers[0]["result"] == answers[2]["result"]
    assert answers[3]["result"]["version"] == 2
    assert [answers[index]["error"]["exc_args"][0] for index in (1, 4, 5, 6)] == [
        "name",
        "method",
        "flavour",
        "beer_id",
    ]
    for wrong in ("x", [1], [{"method": 1}], [{"method": "ping", "kwargs": []}], [{"method": "ping"}] * 1001):
        with pytest.raises(RemoteError, match="InvalidField calls"):
            beers.execute(wrong)


def test_a_request_id_makes_20_calls_at_once_one(fresh_amqp_uri: str, beers: Any) -> None:
    ids: list[int] = []

    def add() -> None:
        with ClusterRpcProxy({"AMQP_URI": fresh_amqp_uri}, timeout=20) as cluster:
            ids.append(cluster.beers.add("Punk", request_id="once")["id"])

    threads = [threading.Thread(target=add) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ids == [1] * 20
    assert beers.ping()["head"] == 1
    with pytest.raises(RemoteError, match="RequestIdReused"):
        beers.add("Jever", request_id="once")


def test_calls_that_waited_in_the_queue_share_commits(
    service: Process, start: Start, wire: Wire, fresh_amqp_uri: str
) -> None:
    service.stop()
    waiting = [wire.call("add", name=f"Beer {number}") for number in range(32)]
    start(amqp=fresh_amqp_uri)
    beers = [wire.answer(correlation_id)["result"] for correlation_id in waiting]
    assert [beer["name"] for beer in beers] == [f"Beer {number}" for number in range(32)]
    assert [beer["id"] for beer in beers] == list(range(1, 33))
    # All beers of a commit have the same time.
    assert len({beer["added_at"] for beer in beers}) <= 8


def test_the_log_has_one_line_a_command_and_no_payload(service: Process, wire: Wire) -> None:
    correlation_id = wire.send(
        {"args": ["Geheimbräu"], "kwargs": {"request_id": "r-1"}},
        "beers.add",
        application_headers={"nameko.correlation_id": "talk-1"},
    )
    wire.answer(correlation_id)
    service.await_line("command")
    output = service.text
    assert output.count('"event":"command"') == 1
    line = next(line for line in output.splitlines() if '"event":"command"' in line)
    for part in (
        '"request_id":"r-1"',
        '"correlation_id":"talk-1"',
        '"outcome":"ok"',
        '"duration_ms":',
        '"method":"add"',
    ):
        assert part in line
    assert "Geheimbr" not in output
    assert "guest:guest" not in output
