"""A watch tells every event after its start once and in order, whatever happens to bus, service and bridge."""

import asyncio
from typing import Any

import grpc
import orjson
import pytest

from grpc_bridge import feed
from tests.bridge.broker_proxy import broker_proxy
from tests.bridge.running_bridge import details, running_bridge, trailers
from tests.bridge.scripted_service import scripted_service
from tests.bridge.watching import PATIENCE, Watching, watched


async def test_a_watch_from_now_begins_with_the_place_to_resume_from_and_tells_what_happens_next(amqp_uri: str) -> None:
    async with watched(amqp_uri) as (service, running):
        service.log.append()
        watching = Watching(running)
        first = await watching.until_kind("caught_up")
        assert (first.caught_up.position, first.resume_token) == (1, "log:1")
        await service.happen(kind="BeerNameChanged", beer_id=7, name="Jever", previous_name="Yever")
        await watching.until(2)
        (event,) = watching.responses[-1].events.events
        assert (event.id, event.beer_id, event.beer_name_changed.name) == ("log:2", 7, "Jever")
        assert watching.responses[-1].resume_token == "log:2"
        watching.cancel()


async def test_a_watch_from_the_beginning_reads_pages_and_says_once_that_it_has_caught_up(amqp_uri: str) -> None:
    async with watched(amqp_uri) as (service, running):
        for _ in range(2 * feed.PAGE + 5):
            service.log.append()
        watching = Watching(running, from_beginning=True)
        await watching.until_kind("caught_up")
        await service.happen(3)
        await watching.until(2 * feed.PAGE + 8)
        assert watching.positions == list(range(1, 2 * feed.PAGE + 9))
        assert watching.kinds.count("caught_up") == 1
        watching.cancel()


@pytest.mark.parametrize("start", [{"after_position": 3}, {"resume_token": "log:3"}])
async def test_a_watch_begins_behind_the_given_place(amqp_uri: str, start: dict[str, Any]) -> None:
    async with watched(amqp_uri) as (service, running):
        for _ in range(5):
            service.log.append()
        watching = Watching(running, **start)
        await watching.until_kind("caught_up")
        assert watching.positions == [4, 5]
        watching.cancel()


async def test_each_event_is_told_once_though_the_bus_repeats_and_loses_some(amqp_uri: str) -> None:
    async with watched(amqp_uri) as (service, running):
        watching = Watching(running)
        await watching.until_kind("caught_up")
        first, second, _lost, fourth = [service.log.append() for _ in range(4)]
        await service.tell(first, first, second, first, fourth, second)
        await watching.until(4)
        await service.happen()
        await watching.until(5)
        assert watching.positions == [1, 2, 3, 4, 5]
        watching.cancel()


async def test_what_the_bus_never_tells_comes_all_the_same(amqp_uri: str) -> None:
    async with watched(amqp_uri) as (service, running):
        watching = Watching(running)
        await watching.until_kind("caught_up")
        service.log.append()
        await watching.until(1)
        watching.cancel()


async def test_a_message_that_is_no_event_is_told_in_the_log_and_to_nobody(amqp_uri: str) -> None:
    async with watched(amqp_uri) as (service, running):
        watching = Watching(running)
        await watching.until_kind("caught_up")
        for body in (b"\xff", b"[]", b'{"id": 1}', orjson.dumps(service.log.append() | {"position": "one"})):
            await service.publish(body, "BeerRemoved")
        await service.happen()
        await watching.until(2)
        assert watching.positions == [1, 2]
        assert any(line["event"] == "a message on the bus is no event" for line in running.lines)
        watching.cancel()


async def test_filters_let_through_what_they_name_and_the_token_moves_on_with_the_rest(amqp_uri: str) -> None:
    async with watched(amqp_uri, watch_checkpoint=0.2) as (service, running):
        for number in range(12):
            service.log.append("BeerRemoved" if number % 2 else "BeerRestored", beer_id=number % 3 + 1)
        watching = Watching(running, from_beginning=True, types=["BeerRemoved"], beer_ids=[1, 2])
        await watching.until_kind("caught_up")
        # The first is of beer 1, the second of no wanted beer, the third of no wanted type.
        await service.happen(kind="BeerRemoved", beer_id=1)
        await service.happen(kind="BeerRemoved", beer_id=3)
        await service.happen(kind="BeerRestored", beer_id=1)
        await watching.until(13)
        assert watching.positions == [2, 4, 8, 10, 13]
        while watching.responses[-1].resume_token != "log:15":
            await watching.until_kind("checkpoint")
        assert {page["limit"] for page in service.log.pages} == {feed.PAGE}
        watching.cancel()


async def test_a_rare_event_is_found_though_pages_on_the_way_hold_none(amqp_uri: str) -> None:
    async with watched(amqp_uri, watch_checkpoint=0.05) as (service, running):
        for _ in range(12 * feed.PAGE):
            service.log.append()
        service.log.append("BeerRestored")
        watching = Watching(running, from_beginning=True, types=["BeerRestored"])
        await watching.until_kind("caught_up")
        assert watching.positions == [12 * feed.PAGE + 1]
        assert len(service.log.pages) > 2
        watching.cancel()


async def test_an_idle_watch_is_told_from_time_to_time_that_it_lives(amqp_uri: str) -> None:
    async with watched(amqp_uri, watch_checkpoint=0.1) as (_service, running):
        watching = Watching(running)
        for _ in range(3):
            checkpoint = await watching.until_kind("checkpoint")
        assert (checkpoint.checkpoint.position, checkpoint.resume_token) == (0, "log:0")
        watching.cancel()


@pytest.mark.parametrize(
    ("start", "position"),
    [({"after_position": 6}, "6"), ({"resume_token": "log:6"}, "6"), ({"resume_token": "other:2"}, "2")],
)
async def test_a_place_beyond_the_log_or_in_another_one_is_out_of_range(
    amqp_uri: str, start: dict[str, Any], position: str
) -> None:
    async with watched(amqp_uri) as (service, running):
        for _ in range(5):
            service.log.append()
        error = await Watching(running, **start).end()
        assert error.code() is grpc.StatusCode.OUT_OF_RANGE
        info = details(error)["ErrorInfo"]
        assert info.reason == "POSITION_OUT_OF_RANGE"
        assert dict(info.metadata) == {"position": position, "head": "5", "log_id": "log"}
        said = error.details() or ""
        assert ("belongs to another log, other" in said) == (start == {"resume_token": "other:2"})
        assert said.endswith("; this log is log and ends at 5")


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({"after_position": -1}, "after_position"),
        ({"from_now": False}, "from_now"),
        ({"from_beginning": False}, "from_beginning"),
        ({"resume_token": ""}, "resume_token"),
        ({"resume_token": "log:-1"}, "resume_token"),
        ({"resume_token": "log:1_0"}, "resume_token"),
        ({"resume_token": ":1"}, "resume_token"),
        ({"resume_token": "log:" + "9" * 5000}, "resume_token"),
        ({"types": ["BeerAdded", "BeerDrunk"]}, "types[1]"),
        ({"beer_ids": [1, 0]}, "beer_ids[1]"),
        ({"beer_ids": range(1, 1002)}, "beer_ids"),
    ],
)
async def test_a_request_that_makes_no_sense_is_refused_with_its_field(
    amqp_uri: str, request_: dict[str, Any], field: str
) -> None:
    async with watched(amqp_uri) as (_service, running):
        error = await Watching(running, **request_).end()
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert details(error)["BadRequest"].field_violations[0].field == field


async def test_a_watch_outlives_a_cut_connection_to_the_broker(amqp_uri: str) -> None:
    async with (
        scripted_service(amqp_uri) as service,
        broker_proxy(amqp_uri) as proxy,
        running_bridge(proxy.uri) as running,
    ):
        watching = Watching(running)
        await watching.until_kind("caught_up")
        await service.happen(2)
        proxy.cut()
        await service.happen(3)
        await watching.until(5)
        await service.happen(1)
        await watching.until(6)
        assert watching.positions == [1, 2, 3, 4, 5, 6]
        watching.cancel()


async def test_a_gap_wider_than_the_ring_is_read_in_pages(amqp_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "RING", 50)
    async with watched(amqp_uri) as (service, running):
        watching = Watching(running)
        await watching.until_kind("caught_up")
        for _ in range(130):
            service.log.append()
        await service.happen()
        await watching.until(131)
        assert watching.positions == list(range(1, 132))
        watching.cancel()


async def test_the_ring_is_bounded_in_events_and_in_bytes(amqp_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "RING", 50)
    monkeypatch.setattr(feed, "RING_BYTES", 2000)
    async with watched(amqp_uri) as (service, running):
        late = Watching(running)
        await late.until_kind("caught_up")
        # Few at a time: two pings that overtook more events than the ring holds would have it emptied.
        for position in range(10, 201, 10):
            await service.happen(10)
            await late.until(position)
        kept = vars(vars(running.bridge)["_feed"])
        assert sum(event.size for event in kept["_ring"]) == kept["_size"] <= 2000
        assert 0 < len(kept["_ring"]) < 50
        assert late.positions == list(range(1, 201))
        late.cancel()


async def test_watchers_of_the_same_events_share_one_response(amqp_uri: str) -> None:
    async with watched(amqp_uri) as (service, running):
        watching = [Watching(running) for _ in range(20)]
        for watcher in watching:
            await watcher.until_kind("caught_up")
        await service.happen(10)
        for watcher in watching:
            await watcher.until(10)
            assert watcher.positions == list(range(1, 11))
            watcher.cancel()


async def test_a_response_stays_below_what_clients_take_though_the_events_are_large(amqp_uri: str) -> None:
    async with watched(amqp_uri) as (service, running):
        for _ in range(150):
            service.log.append("BeerDetailsChanged", description="x" * 40_000)
        watching = Watching(running, from_beginning=True)
        await watching.until(150)
        assert watching.positions == list(range(1, 151))
        assert max(response.ByteSize() for response in watching.responses) < 300_000
        watching.cancel()


async def test_a_watcher_that_does_not_read_is_ended_and_the_others_go_on(amqp_uri: str) -> None:
    async with watched(amqp_uri, watch_patience=0.5) as (service, running):
        for _ in range(300):
            service.log.append("BeerDetailsChanged", description="x" * 40_000)
        slow = Watching(running, from_beginning=True)
        await slow.until(1)
        quick = Watching(running)
        await quick.until_kind("caught_up")
        async with asyncio.timeout(PATIENCE):
            while not any(line.get("code") == "RESOURCE_EXHAUSTED" for line in running.lines):
                await service.happen()
                await quick.until(len(service.log.events))
        error = await slow.end()
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert details(error)["ErrorInfo"].reason == "SLOW_READER"
        assert 250 <= int(trailers(error)["grpc-retry-pushback-ms"]) <= 375
        told = len(slow.positions)
        assert slow.positions == list(range(1, told + 1))
        resumed = Watching(running, resume_token=slow.responses[-1].resume_token)
        await resumed.until(told + 1)
        assert resumed.positions[0] == told + 1
        quick.cancel()
        resumed.cancel()
