"""The commands of one call each: what they print, for people and machines, and how they fail."""

import json
import re

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo

from beers_cli.processes import free_port
from tests.cli.conftest import Run
from tests.cli.fake_service import FakeService, away, status


def test_an_added_beer_is_shown_with_its_id(service: FakeService, beers: Run) -> None:
    result = beers("add", "Punk IPA", "--brewery", "BrewDog", "--style", "IPA", "--abv", "5.6")
    assert result.status == 0
    assert "Punk IPA" in result.out
    assert "5.6 %" in result.out
    assert service.beers[1].brewery == "BrewDog"
    assert not service.beers[1].HasField("ibu")


@pytest.mark.usefixtures("service")
def test_json_holds_what_nameko_answers(beers: Run) -> None:
    beer = beers("add", "Jever", "--ibu", "44", "--json").document
    assert beer == {
        "id": 1, "name": "Jever", "brewery": "", "style": "", "abv": None, "ibu": 44, "description": "", "version": 1,
        "added_at": "2026-11-23T12:00:01.000000Z", "changed_at": "2026-11-23T12:00:01.000000Z", "removed_at": None,
    }  # fmt: skip
    assert beers("get", "1", "--json").document == beer


def test_a_beer_is_renamed_updated_removed_and_restored_and_its_history_tells_so(
    service: FakeService, beers: Run
) -> None:
    beers("add", "Punk", "--abv", "5.6")
    assert "Punk IPA" in beers("rename", "1", "Punk IPA").out
    assert beers("update", "1", "--brewery", "BrewDog", "--abv", "unknown", "--json").document["abv"] is None
    assert service.beers[1].brewery == "BrewDog"
    assert beers("remove", "1").status == 0
    assert beers("get", "1").status == 1
    assert beers("restore", "1").status == 0
    lines = beers("history", "1").out.splitlines()
    for words in ("added Punk (abv 5.6)", "renamed Punk → Punk IPA", "abv unknown", "removed", "restored"):
        assert sum(words in line for line in lines) == 1, words
    types = [event["type"] for event in beers("history", "1", "--json").document]
    assert types == ["BeerAdded", "BeerNameChanged", "BeerDetailsChanged", "BeerRemoved", "BeerRestored"]
    changed = beers("history", "1", "--json").document[2]["data"]
    assert changed == {"brewery": "BrewDog", "abv": None}


@pytest.mark.usefixtures("service")
def test_a_history_tells_the_gist_of_a_description_and_all_of_it_with_its_requests_on_demand(beers: Run) -> None:
    beers("add", "Punk", "--description", "Light, golden,\nspiky: " + "hops " * 30 + "end", "--request-id", "r-1")
    gist = beers("history", "1").out
    assert "description Light, golden, spiky: hops" in gist
    assert "…" in gist
    assert "hops end" not in gist
    assert "r-1" not in gist
    whole = beers("history", "1", "--verbose").out
    assert "hops end" in whole
    assert "request r-1" in whole


def test_a_history_tells_who_did_what_where_that_is_known(service: FakeService, beers: Run) -> None:
    beers("add", "Punk by Åse")
    service.actor = "till \x1b[31m3"
    beers("rename", "1", "Jever")
    added, renamed = [re.sub(r" +", " ", line).strip() for line in beers("history", "1").out.splitlines()[-3:-1]]
    assert added.endswith(":01 1 1 added Punk by Åse")
    assert renamed.endswith(":02 2 2 till \N{REPLACEMENT CHARACTER}[31m3 renamed Punk by Åse → Jever")
    documents = beers("history", "1", "--json").document
    assert [document.get("actor", "nobody") for document in documents] == ["nobody", service.actor]


def test_an_empty_text_clears_a_detail_and_what_is_not_named_stays(service: FakeService, beers: Run) -> None:
    beers("add", "Jever", "--brewery", "Friesisches Brauhaus", "--style", "Pilsener")
    beers("update", "1", "--style", "")
    assert service.calls[-1].update_mask.paths == ["style"]
    assert service.beers[1].style == ""
    assert service.beers[1].brewery == "Friesisches Brauhaus"


def test_update_without_a_change_is_wrong_usage(beers: Run) -> None:
    result = beers("update", "1")
    assert result.status == 2
    assert "nothing to change" in result.err


def test_list_reads_as_many_pages_as_it_needs_and_says_that_there_are_more(service: FakeService, beers: Run) -> None:
    for number in range(1, 61):
        beers("add", f"Beer {number}")
    shown = beers("list")
    assert "Beer 50" in shown.out
    assert "Beer 51" not in shown.out
    assert "there are more" in shown.out
    assert len(beers("list", "--limit", "7", "--json").document) == 7
    service.calls.clear()
    assert len(beers("list", "--all", "--json").document) == 60
    everything = beers("list", "--all")
    assert "60 beers." in everything.out
    assert [beer["name"] for beer in beers("list", "--query", "beer 60", "--json").document] == ["Beer 60"]


@pytest.mark.usefixtures("service")
def test_removed_beers_are_listed_on_request(beers: Run) -> None:
    beers("add", "Gone")
    beers("remove", "1")
    assert beers("list").out.strip() == "No beers."
    assert "Gone (removed)" in beers("list", "--show-removed").out


@pytest.mark.usefixtures("service")
def test_a_page_cannot_smuggle_commands_to_the_terminal(beers: Run) -> None:
    beers("add", "Red \x1b[31mAle \u202egpj.\u2066", "--brewery", "מבשלה", "--description", "[bold]no markup[/bold]")
    shown = beers("list").out + beers("get", "1").out
    assert not {"\x1b", "\u202e", "\u2066"} & set(shown)
    assert "מבשלה" in shown
    assert "[bold]no markup[/bold]" in shown


@pytest.mark.parametrize(
    ("at", "field"), [("42", "as_of_position"), ("2026-11-01", "as_of_time"), ("2026-11-01T18:30Z", "as_of_time")]
)
def test_the_past_is_named_by_a_position_or_a_time(service: FakeService, beers: Run, at: str, field: str) -> None:
    beers("add", "Jever")
    assert beers("get", "1", "--at", at).status == 0
    assert service.calls[-1].WhichOneof("as_of") == field


def test_a_beer_that_was_not_there_yet_is_not_looked_for_among_the_removed(service: FakeService, beers: Run) -> None:
    service.failures.append(status(grpc.StatusCode.NOT_FOUND, "beer 1 not found"))
    result = beers("get", "1", "--at", "0")
    assert result.status == 1
    assert "Beer 1 was not there at 0." in result.err
    assert "beers history 1" in result.err
    assert "restore" not in result.err


def test_an_empty_request_id_is_wrong_usage(service: FakeService, beers: Run) -> None:
    result = beers("add", "Jever", "--request-id", "")
    assert result.status == 2
    assert "--request-id" in result.err
    assert service.calls == []


def test_a_past_that_is_neither_is_wrong_usage(beers: Run) -> None:
    result = beers("get", "1", "--at", "yesterday")
    assert result.status == 2
    assert "2026-11-01" in result.err


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize(
    "arguments",
    [
        ("get", "99999999999999999999"),
        ("rename", "1", "x", "--expected-version", "99999999999999999999"),
        ("get", "1", "--at", "99999999999999999999"),
        ("add", "\udcff\udcfe"),
    ],
)
def test_what_the_protocol_cannot_carry_is_wrong_usage(beers: Run, arguments: tuple[str, ...]) -> None:
    result = beers(*arguments)
    assert result.status == 2
    assert "bug" not in result.err


@pytest.mark.usefixtures("service")
def test_a_stale_version_is_refused_with_what_to_do(beers: Run) -> None:
    beers("add", "Jever")
    result = beers("rename", "1", "Jever Pilsener", "--expected-version", "7")
    assert result.status == 1
    assert "at version 1, not 7" in result.err
    assert "beers get" in result.err


@pytest.mark.usefixtures("service")
def test_a_refused_field_is_named(beers: Run) -> None:
    result = beers("add", " ")
    assert (result.status, result.out) == (1, "")
    assert result.err.strip() == "Error: name: must not be blank"
    error = json.loads(beers("add", " ", "--json").err)["error"]
    assert error["field"] == "name"
    assert error["code"] == "INVALID_ARGUMENT"
    assert error["reason"] == "INVALID_FIELD"


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize("value", ["strong", "5,6", ""])
def test_a_quantity_is_a_number_or_unknown(beers: Run, value: str) -> None:
    result = beers("add", "Jever", "--abv", value)
    assert result.status == (2 if value else 0)
    assert ("unknown" in result.err) == bool(value)


def test_where_nobody_listens_the_command_fails_at_once_and_says_what_to_do(beers: Run) -> None:
    address = f"127.0.0.1:{free_port()}"
    result = beers("list", "--address", address)
    assert result.status == 1
    assert f"No beers service answers at {address}." in result.err
    assert "beers up" in result.err
    assert "--address" in result.err


@pytest.mark.parametrize("address", ["localhost:http", ":8000", "localhost:99999", "http://localhost:8000", ""])
def test_a_malformed_address_is_wrong_usage(beers: Run, address: str) -> None:
    assert beers("list", "--address", address).status == 2


def test_what_passes_is_tried_again_with_the_same_request_id(service: FakeService, beers: Run) -> None:
    service.failures.extend([away(), away()])
    assert beers("add", "Jever").status == 0
    assert len(service.calls) == 3
    assert len({call.request_id for call in service.calls}) == 1


def test_a_lost_answer_adds_nothing_twice(service: FakeService, beers: Run) -> None:
    service.lose_answers = 1
    assert beers("add", "Jever", "--json").document["id"] == 1
    assert len(service.beers) == 1


def test_after_the_timeout_the_request_id_is_told_to_go_on_with(service: FakeService, beers: Run) -> None:
    service.failures.extend([away()] * 100)
    result = beers("add", "Jever", "--timeout", "0.5", "--request-id", "mine")
    assert result.status == 1
    assert "no service instance answers" in result.err
    assert "--request-id mine" in result.err


def test_what_would_fail_again_is_not_tried_again(service: FakeService, beers: Run) -> None:
    bug = status(grpc.StatusCode.INTERNAL, "something went wrong, id 4711", ErrorInfo(reason="INTERNAL"))
    service.failures.append(bug)
    result = beers("add", "Jever")
    assert result.status == 1
    assert "4711" in result.err
    assert len(service.calls) == 1


def test_health_is_shown_and_is_the_exit_status(service: FakeService, beers: Run) -> None:
    assert beers("health").status == 0
    service.serving(yes=False)
    result = beers("health")
    assert result.status == 1
    assert re.search(r"beers\.v1\.BeersService\s+NOT_SERVING", result.out)
    assert re.search(r"liveness\s+SERVING", result.out)
    assert beers("health", "--json").document["serving"] is False
    late = beers("health", "--wait", "0.2")
    assert late.status == 1
    assert "not serving within 0.2 s" in late.err


def test_health_can_judge_the_bridge_alone(service: FakeService, beers: Run) -> None:
    service.serving(yes=False)
    assert beers("health", "--liveness").status == 0
    assert beers("health", "--liveness", "--json").document["serving"] is False
    misused = beers("health", "--liveness", "--wait", "1")
    assert misused.status == 2
    assert "exclude each other" in misused.err
    service.stop()
    assert beers("health", "--liveness", "--timeout", "0.5").status == 1


def test_a_trace_of_the_environment_goes_on_in_every_call_and_what_is_none_goes_nowhere(
    service: FakeService, beers: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    monkeypatch.setenv("TRACEPARENT", trace)
    assert beers("add", "Jever").status == 0
    monkeypatch.setenv("TRACEPARENT", f"01{trace[2:]}-of-a-later-version")
    assert beers("watch", "--from", "beginning", "--until-caught-up").status == 0
    assert set(service.traceparents) == {trace}
    assert len(service.traceparents) == 2
    for malformed in ("", "nönsense\n", trace.upper()):
        monkeypatch.setenv("TRACEPARENT", malformed)
        assert beers("get", "1").status == 0
    monkeypatch.delenv("TRACEPARENT")
    assert beers("get", "1").status == 0
    assert len(service.traceparents) == 2
