"""Whose trace is sampled, what of a caller is believed, and how a wrong setting is named."""

import os
from collections.abc import Iterable
from typing import Any

import pytest

from beers_runtime.configuration import ConfigurationError
from beers_runtime.tracing import OFF, Span, Tracing, as_version_00, ids, is_traceparent
from beers_runtime.tracing_settings import TracingSettings, tracing_settings

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"
COLLECTOR = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


@pytest.fixture(autouse=True)
def _without_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


def nowhere(*_span: Any) -> None:
    pass


def read(**config: object) -> TracingSettings:
    found = tracing_settings({**COLLECTOR, **config}, "beers-bridge")
    assert found is not None
    return found


def test_a_caller_who_has_decided_is_believed() -> None:
    tracing = Tracing(nowhere, rate=0.0)
    span = tracing.enter(SAMPLED)
    assert span is not None
    assert (span.trace_id, span.parent_id) == (TRACE, PARENT)
    assert span.traceparent == f"00-{TRACE}-{span.span_id}-01"
    assert span.span_id != PARENT
    assert Tracing(nowhere, rate=1.0).enter(UNSAMPLED) is None


def test_of_the_flags_the_last_bit_alone_says_sampled() -> None:
    tracing = Tracing(nowhere, rate=0.0)
    for flags, sampled in (("03", True), ("ff", True), ("02", False), ("fe", False)):
        for span in (tracing.enter(f"00-{TRACE}-{PARENT}-{flags}"), tracing.join(f"00-{TRACE}-{PARENT}-{flags}")):
            assert (span is not None) == sampled


def test_who_believes_nobody_decides_by_the_trace_id_as_all_others_do() -> None:
    low = int(TRACE[16:], 16) / 2**64
    for traceparent in (SAMPLED, UNSAMPLED):
        assert Tracing(nowhere, rate=low + 0.01, follows=False).enter(traceparent) is not None
        assert Tracing(nowhere, rate=low - 0.01, follows=False).enter(traceparent) is None


def test_about_the_part_that_was_asked_for_is_sampled_of_those_who_leave_it_open() -> None:
    tracing = Tracing(nowhere, rate=0.1)
    entered = [span for _ in range(10_000) if (span := tracing.enter(""))]
    assert 800 < len(entered) < 1200
    assert len({span.trace_id for span in entered}) == len(entered)
    assert all(is_traceparent(span.traceparent) and not span.parent_id for span in entered)
    assert all(tracing.enter("") is None for tracing in [Tracing(nowhere, rate=0.0)] * 1000)


@pytest.mark.parametrize(
    "malformed",
    [
        "",
        "nonsense",
        f"00-{TRACE}-{PARENT}",
        f"00-{TRACE}-{PARENT}-01-more",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{PARENT}-01",
    ],
)
def test_what_is_no_trace_context_decides_nothing_and_is_no_parent(malformed: str) -> None:
    span = Tracing(nowhere).enter(malformed)
    assert span is not None
    assert (span.parent_id, span.trace_id == TRACE) == ("", False)
    assert Tracing(nowhere, rate=0.0).enter(malformed) is None
    assert Tracing(nowhere).join(malformed) is None
    assert not ids(malformed)
    assert not is_traceparent(malformed)


@pytest.mark.parametrize("rest", ["", "-", "-what the future brings", "-" + "x" * 1000])
def test_of_a_later_version_that_is_read_which_version_00_knows(rest: str) -> None:
    for version in ("01", "cc", "fe"):
        for flags, known in (("01", "01"), ("03", "01"), ("00", "00"), ("fe", "00")):
            assert as_version_00(f"{version}-{TRACE}-{PARENT}-{flags}{rest}") == f"00-{TRACE}-{PARENT}-{known}"


@pytest.mark.parametrize(
    "given",
    [
        "",
        "nonsense",
        f"00-{TRACE}-{PARENT}-03",
        f"00-{TRACE}-{PARENT}-01-more",
        f"ff-{TRACE}-{PARENT}-01",
        f"0A-{TRACE}-{PARENT}-01",
        f"01-{TRACE}-{PARENT}-01more",
        f"01-{TRACE}-{PARENT}-1",
        f"01-{TRACE}-{PARENT}",
        f"01-{'0' * 32}-{PARENT}-01",
        f"01-{TRACE}-{'0' * 16}-01",
        f"01-{TRACE.upper()}-{PARENT}-01",
    ],
)
def test_what_is_of_no_later_version_stays_as_it_is(given: str) -> None:
    assert as_version_00(given) == given


def test_nobody_joins_a_trace_that_is_not_sampled_or_none() -> None:
    assert Tracing(nowhere).join(UNSAMPLED) is None
    assert Tracing(nowhere).join(None) is None


def test_where_traces_are_off_not_even_a_sampled_one_has_spans() -> None:
    assert OFF.enter(SAMPLED) is None
    assert OFF.join(SAMPLED) is None
    assert not OFF.on
    OFF.close(1.0)


def test_a_span_is_told_with_what_it_ended_with() -> None:
    told: list[Any] = []

    def export(span: Span, name: str, kind: str, attributes: Any, error: str, links: Iterable[Span]) -> None:
        told.append((span, name, kind, attributes, error, list(links)))

    tracing = Tracing(export)
    span, other = tracing.enter(SAMPLED), tracing.enter("")
    assert span is not None
    assert other is not None
    tracing.end(span, "commit", "client", {"a": 1}, error="Broken", links=[other])
    assert told == [(span, "commit", "client", {"a": 1}, "Broken", [other])]


def test_the_ids_for_a_log_are_there_whether_sampled_or_not() -> None:
    assert ids(SAMPLED) == ids(UNSAMPLED) == {"trace_id": TRACE, "span_id": PARENT}
    assert not ids(None)


def test_without_a_collector_or_when_disabled_nothing_is_traced_and_nothing_else_read() -> None:
    assert tracing_settings({"OTEL_TRACES_SAMPLER": "odd"}, "beers") is None
    assert tracing_settings({**COLLECTOR, "OTEL_SDK_DISABLED": True}, "beers") is None


def test_the_url_is_made_of_the_common_one_or_is_that_of_traces_as_it_stands() -> None:
    assert read().url == "http://collector:4318/v1/traces"
    assert read(OTEL_EXPORTER_OTLP_ENDPOINT="https://c/otlp/").url == "https://c/otlp/v1/traces"
    assert read(OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="http://c/here").url == "http://c/here"


def test_a_configuration_that_does_not_know_of_traces_leaves_it_to_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.25")
    found = tracing_settings({"AMQP_URI": "amqp://a/"}, "taps")
    assert found is not None
    assert (found.rate, found.follows, found.resource["service.name"]) == (0.25, True, "taps")


@pytest.mark.parametrize(
    ("sampler", "expected"),
    [
        ("parentbased_always_on", (1.0, True)),
        ("parentbased_always_off", (0.0, True)),
        ("parentbased_traceidratio", (0.1, True)),
        ("always_on", (1.0, False)),
        ("always_off", (0.0, False)),
        ("traceidratio", (0.1, False)),
    ],
)
def test_samplers_have_the_names_that_they_have_everywhere(sampler: str, expected: tuple[float, bool]) -> None:
    found = read(OTEL_TRACES_SAMPLER=sampler, OTEL_TRACES_SAMPLER_ARG=0.1)
    assert (found.rate, found.follows) == expected


def test_a_process_has_the_name_that_it_is_given_else_its_own() -> None:
    assert read().resource["service.name"] == "beers-bridge"
    named = read(OTEL_RESOURCE_ATTRIBUTES="service.name=b, deployment.environment.name=a%2Cb")
    assert (named.resource["service.name"], named.resource["deployment.environment.name"]) == ("b", "a,b")
    assert read(OTEL_RESOURCE_ATTRIBUTES="service.name=b", OTEL_SERVICE_NAME="c").resource["service.name"] == "c"


def test_what_the_collector_is_told_may_be_whatever_http_can_carry() -> None:
    headers = read(OTEL_EXPORTER_OTLP_HEADERS="Authorization=Bearer%20a.b-c%3D, x_key=,x-city=K%C3%B6ln").headers
    assert headers == {"Authorization": "Bearer a.b-c=", "x_key": "", "x-city": "Köln"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:x"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "grpc://collector"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "s3cret"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=s3cret%0Ab"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=%20s3cret"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=s3cret%FF"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "bad name=s3cret"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere.pem"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/dev/null"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", __file__),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", 0),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_TRACES_SAMPLER_ARG", 1.5),
        ("OTEL_TRACES_SAMPLER_ARG", "half"),
        ("OTEL_SERVICE_NAME", 5),
        ("OTEL_RESOURCE_ATTRIBUTES", "=x"),
        ("OTEL_BSP_SCHEDULE_DELAY", "soon"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", -1),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 4096),
        ("OTEL_SDK_DISABLED", "perhaps"),
    ],
)
def test_a_setting_that_is_malformed_is_named_in_one_line(name: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=name) as refused:
        read(**{"OTEL_TRACES_SAMPLER": "traceidratio", name: value})
    assert "\n" not in str(refused.value)
    assert "s3cret" not in str(refused.value)
