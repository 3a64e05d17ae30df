"""What spans a bridge makes of calls, and that it decides for those who leave it open."""

import asyncio
from typing import Any

import grpc

from beers_runtime.tracing_settings import tracing_settings
from grpc_bridge.proto.beers.v1 import beers_pb2 as v1
from grpc_bridge.proto.pb import beers_pb2 as pb
from tests.bridge.running_bridge import refusal, running_bridge
from tests.bridge.scripted_service import Refused, scripted_service
from tests.collector import Collector, Span, collecting

GET = v1.GetBeerRequest(beer_id=1)


def tracing(collector: Collector, sampler: str = "parentbased_always_on") -> Any:
    config = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_TRACES_SAMPLER": sampler}
    return tracing_settings(config, "beers-bridge")


def by_name(spans: list[Span], name: str) -> list[Span]:
    return sorted((span for span in spans if span.name == name), key=lambda span: span.start)


async def test_each_call_has_a_span_that_says_how_it_ended_and_one_of_its_sending(amqp_uri: str) -> None:
    def not_there(**_arguments: Any) -> Any:
        raise Refused("BeerNotFound", ["1"])

    def away(**_arguments: Any) -> Any:
        raise Refused("StoreUnavailable", ["gone"])

    with collecting() as collector:
        async with (
            scripted_service(amqp_uri) as service,
            running_bridge(amqp_uri, tracing=tracing(collector)) as running,
        ):
            await running.beers.GetBeer(GET)
            for failing in (not_there, away):
                service.methods["get"] = failing
                await refusal(running.beers.GetBeer(GET))
            await running.seed.Add(pb.BeerAddRequest(name="Jever"))
            sent = [call["traceparent"] for call in service.calls]
    calls = by_name(collector.spans, "beers.v1.BeersService/GetBeer") + by_name(collector.spans, "pb.Beers/Add")
    codes = (grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.OK)
    assert [call.attributes["rpc.grpc.status_code"] for call in calls] == [code.value[0] for code in codes]
    assert [call.failed for call in calls] == [False, False, True, False]
    assert [call.parent_id for call in calls] == [""] * 4
    sending = by_name(collector.spans, "send beers.execute")
    assert [span.parent_id for span in sending] == [call.span_id for call in calls]
    assert sent == [f"00-{span.trace_id}-{span.span_id}-01" for span in sending]
    assert len(collector.spans) == 8


async def test_calls_that_share_a_message_say_with_how_many(amqp_uri: str) -> None:
    with collecting() as collector:
        async with (
            scripted_service(amqp_uri) as service,
            running_bridge(amqp_uri, tracing=tracing(collector), batches_in_flight=1) as running,
        ):
            service.gate.clear()
            first = asyncio.ensure_future(running.beers.GetBeer(GET))
            await service.until(1)
            others = [asyncio.ensure_future(running.beers.GetBeer(GET)) for _ in range(3)]
            while running.bridge._reception.active < 4:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0)
            service.gate.set()
            await asyncio.gather(first, *others)
    together = [span.attributes.get("messaging.batch.message_count") for span in collector.spans if "send" in span.name]
    assert together == [None, 3, 3, 3]


async def test_a_trace_context_of_a_later_version_goes_on_as_one_of_version_00(amqp_uri: str) -> None:
    trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    with collecting() as collector:
        settings = tracing(collector, "parentbased_always_off")
        async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri, tracing=settings) as running:
            await running.beers.GetBeer(GET, metadata=[("traceparent", f"01-{trace}-{parent}-01")])
            await running.beers.GetBeer(GET, metadata=[("traceparent", f"cc-{trace}-{parent}-02-{'x' * 200}")])
        given, unsampled = (call["traceparent"] for call in service.calls)
    call, send = sorted(collector.spans, key=lambda span: span.kind, reverse=True)
    assert (call.trace_id, call.parent_id) == (trace, parent)
    assert (given, unsampled) == (f"00-{trace}-{send.span_id}-01", f"00-{trace}-{parent}-00")


async def test_what_is_not_sampled_is_handed_on_as_it_came(amqp_uri: str) -> None:
    given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
    with collecting() as collector:
        settings = tracing(collector, "parentbased_always_off")
        async with scripted_service(amqp_uri) as service, running_bridge(amqp_uri, tracing=settings) as running:
            await running.beers.GetBeer(GET, metadata=[("traceparent", given)])
            await running.beers.GetBeer(GET)
            await running.beers.GetBeer(GET, metadata=[("traceparent", given[:-1] + "1")])
        assert [call["traceparent"] for call in service.calls[:2]] == [given, None]
    assert {span.trace_id for span in collector.spans} == {"4bf92f3577b34da6a3ce929d0e0e4736"}
    assert len(collector.spans) == 2
