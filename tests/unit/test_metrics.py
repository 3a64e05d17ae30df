"""What each number of the service means, and how it is told."""

import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
import structlog
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.registry import Collector

from beers_cli import processes
from beers_runtime.configuration import Address, ConfigurationError, metrics_address
from beers_runtime.metrics import DURATIONS, Exporter, Histogram, gauge, registry_of
from beers_service.calls import Calls
from beers_service.methods import Call
from beers_service.metrics import Core, Measures, ServiceMetrics
from beers_service.store.memory import MemoryStore
from beers_service.writer import WAITING, Writer

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def samples(families: Any) -> dict[tuple[str, ...], float]:
    """Return the values by the name of the sample and the values of its labels."""
    return {(each.name, *each.labels.values()): each.value for family in families for each in family.samples}


def counted(told: dict[tuple[str, ...], float], name: str) -> dict[str, float]:
    """Return what is not 0 of *name*, by the value of its label."""
    return {key[1]: value for key, value in told.items() if key[0] == name and value}


class Service:
    """Calls on a store that forgets everything, and what is measured of them."""

    def __init__(self) -> None:
        store = MemoryStore()
        self.measures = Measures(lambda method: method in self.calls)
        writer = Writer(store, store, lambda: datetime(2026, 11, 23, tzinfo=UTC), lambda: None, self.measures.commit)
        self.calls = Calls(writer, store, structlog.get_logger(), measure=self.measures.calls)
        self._count = 0

    def message(self, *calls: tuple[str, dict[str, Any]], **context: Any) -> None:
        made = []
        for method, arguments in calls:
            self._count += 1
            made.append(Call(method, arguments, f"call-{self._count}", "c", **context))
        self.calls.run(made)

    def __getitem__(self, sample: str) -> dict[tuple[str, ...], float]:
        """Return the values of *sample* by the values of its labels."""
        return {key[1:]: value for key, value in samples(self.measures.families()).items() if key[0] == sample}


@pytest.fixture
def service() -> Service:
    return Service()


ENDED = "beers_service_call_duration_seconds_count"


def test_each_call_of_a_message_counts_by_its_method_and_by_what_became_of_it(service: Service) -> None:
    service.message(("add", {"name": "Orval"}), ("add", {"name": ""}), ("get", {"beer_id": 77}), ("ping", {}))
    assert service[ENDED] == {
        ("add", "ok"): 1,
        ("add", "InvalidField"): 1,
        ("get", "BeerNotFound"): 1,
        ("ping", "ok"): 1,
    }
    assert service["beers_service_message_calls_sum"] == {(): 4}
    assert service["beers_service_message_calls_count"] == {(): 1}


def test_methods_that_there_are_not_count_as_one(service: Service) -> None:
    service.message(*((f"drop_{number}", {}) for number in range(5)))
    assert service[ENDED] == {("unknown", "InvalidField"): 5}
    assert not service.measures._ended


def test_a_bug_is_an_error_without_a_name(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.calls._reads, "run", lambda _call: 1 / 0)
    service.message(("ping", {}))
    assert service[ENDED] == {("ping", "error"): 1}


def test_a_call_that_came_too_late_counts_as_expired(service: Service) -> None:
    service.message(("ping", {}), deadline=time.time() - 1)
    service.message(("add", {"name": "Orval"}), deadline=time.time() - 1)
    assert service["beers_service_calls_expired_total"] == {(): 2}
    assert service["beers_service_events_appended_total"][("BeerAdded",)] == 0


def test_commands_that_share_a_commit_are_one_transaction_and_its_events_count_by_type(service: Service) -> None:
    service.message(("add", {"name": "a"}), ("add", {"name": "b"}), ("remove", {"beer_id": 1}))
    service.message(("add_many", {"beers": [{"name": "c"}, {"name": "d"}]}))
    assert service["beers_service_commit_commands_sum"] == {(): 5}
    assert service["beers_service_commit_duration_seconds_count"] == {(): 2}
    assert service["beers_service_events_appended_total"] == {
        ("BeerAdded",): 4,
        ("BeerNameChanged",): 0,
        ("BeerDetailsChanged",): 0,
        ("BeerRemoved",): 1,
        ("BeerRestored",): 0,
    }


def test_the_age_of_a_message_is_that_since_it_left_and_nonsense_is_not_believed(service: Service) -> None:
    nonsense: list[object] = [None, "now", True, float("nan"), float("-inf"), 0, [], -(10**300)]
    for sent in nonsense:
        service.measures.began({"sent_at_ms": sent})
    assert service["beers_service_queue_wait_seconds_count"] == {(): 0}
    service.measures.began({"sent_at_ms": int(time.time() * 1000) - 400})
    service.measures.began({"sent_at_ms": int(time.time() * 1000) + 5000})  # its clock is ahead of ours
    assert service["beers_service_queue_wait_seconds_count"] == {(): 2}
    assert 0.4 <= service["beers_service_queue_wait_seconds_sum"][()] < 2


def test_a_service_that_waits_for_its_store_says_that_there_is_none() -> None:
    metrics = ServiceMetrics(Measures(lambda _method: False), None, workers=64, working=lambda: 0)
    told = samples(metrics.collect())
    assert told[("beers_store_up",)] == 0
    assert told[("beers_relay_leader",)] == 0
    assert told[("beers_broker_up", "calls")] == 0
    assert told[("beers_service_limit", "workers")] == 64
    assert not [name for name in told if name[0] in {"beers_relay_lag_events", "beers_log_head_position"}]


def busy_service(now: float, *, broker: bool = True, **relay: object) -> dict[tuple[str, ...], float]:
    """Return what a service tells apart from what it measures; each number of its parts is another one."""
    writer = SimpleNamespace(head=60, waiting=7, failed={"error": 8})
    leading = {
        "store_up": True,
        "leading": True,
        "position": 40,
        "head": 50,
        "oldest": int((now - 30) * 1e6),
        "published": 9,
        "failures": {"broker": 10},
    }
    publisher = SimpleNamespace(connected=broker, connections=4)
    consumer = SimpleNamespace(
        loop=SimpleNamespace(consuming=broker, connections=3), rejected={"malformed": 11}, answers_lost=12
    )
    metrics = ServiceMetrics(Measures(lambda _method: False), cast("Any", consumer), workers=64, working=lambda: 6)
    parts: tuple[Any, ...] = (writer, SimpleNamespace(**leading | relay), publisher)
    metrics.core = Core(*parts)
    return samples(metrics.collect())


def test_a_service_tells_what_its_parts_know() -> None:
    now = time.time()
    told = busy_service(now)
    assert told[("beers_service_messages_in_progress",)] == 6
    assert told[("beers_service_limit", "workers")] == 64
    assert told[("beers_service_limit", "waiting")] == WAITING
    assert told[("beers_service_commands_waiting",)] == 7
    assert counted(told, "beers_service_commits_failed_total") == {"error": 8}
    assert told[("beers_relay_events_published_total",)] == 9
    assert counted(told, "beers_relay_failures_total") == {"broker": 10}
    assert counted(told, "beers_service_messages_rejected_total") == {"malformed": 11}
    assert told[("beers_service_answers_lost_total",)] == 12
    assert counted(told, "beers_broker_up") == {"calls": 1, "relay": 1}
    assert counted(told, "beers_broker_reconnects_total") == {"calls": 2, "relay": 3}
    assert told[("beers_store_up",)] == told[("beers_relay_leader",)] == 1
    # The relay has read less of the log than the writer has appended.
    assert told[("beers_log_head_position",)] == 60
    assert told[("beers_relay_position",)] == 40
    assert told[("beers_relay_lag_events",)] == 20
    assert 30 <= told[("beers_relay_lag_seconds",)] < 40


def test_a_broker_that_went_away_is_told_of_each_connection() -> None:
    told = busy_service(time.time(), broker=False)
    assert (told[("beers_broker_up", "calls")], told[("beers_broker_up", "relay")]) == (0, 0)


def test_a_relay_that_has_told_everything_does_not_lag() -> None:
    told = busy_service(time.time(), position=70, head=70, oldest=None)
    assert told[("beers_log_head_position",)] == 70
    assert told[("beers_relay_lag_events",)] == told[("beers_relay_lag_seconds",)] == 0


def test_a_store_that_went_away_is_told_and_who_does_not_lead_knows_no_lag() -> None:
    told = busy_service(time.time(), store_up=False, leading=False)
    assert told[("beers_store_up",)] == told[("beers_relay_leader",)] == 0
    assert told[("beers_log_head_position",)] == 60
    assert counted(told, "beers_broker_up") == {"calls": 1}
    for name in ("beers_relay_position", "beers_relay_lag_events", "beers_relay_lag_seconds"):
        assert (name,) not in told


def test_a_value_on_a_bound_lies_in_the_bucket_below_it_and_buckets_add_up() -> None:
    histogram = Histogram("h", "", (1.0, 2.0), ("kind",))
    for value in (0.5, 1.0, 1.5, 9.0):
        histogram.labelled("a").observe(value)
    histogram.labelled("b").observe(2.0, times=3)
    buckets = samples([histogram.family()])
    assert [buckets[("h_bucket", "a", bound)] for bound in ("1.0", "2.0", "+Inf")] == [2, 3, 4]
    assert (buckets[("h_count", "a")], buckets[("h_sum", "a")]) == (4, 12.0)
    assert [buckets[("h_bucket", "b", bound)] for bound in ("1.0", "2.0", "+Inf")] == [0, 3, 3]
    assert buckets[("h_sum", "b")] == 6.0


def test_the_latest_call_of_a_bucket_that_was_traced_is_its_exemplar() -> None:
    histogram = Histogram("h", "", (1.0, 2.0))
    histogram.labelled().observe(0.5, 1, f"00-{TRACE}-00f067aa0ba902b7-01")
    histogram.labelled().observe(0.6)
    histogram.labelled().observe(1.5, 1, "of no trace")
    exemplars = {each.labels.get("le"): each.exemplar for each in histogram.family().samples}
    assert exemplars["1.0"] is not None
    assert (exemplars["1.0"].labels, exemplars["1.0"].value) == ({"trace_id": TRACE}, 0.5)
    assert exemplars["2.0"] is None


class Answering(Collector):
    def __init__(self, documentation: str = "") -> None:
        self._documentation = documentation

    def collect(self) -> list[Metric]:
        return [gauge("beers_answer", self._documentation, 42), Histogram("beers_h", "", DURATIONS).family()]


@contextmanager
def exporting(collector: Collector) -> Iterator[Address]:
    address = Address("127.0.0.1", processes.free_port())
    exporter = Exporter(registry_of("test", collector), address, structlog.get_logger())
    try:
        yield address
    finally:
        exporter.stop()


def scraped(address: Address, within: float = 2.0) -> str:
    """Return what is answered *within* so many seconds."""
    began = time.monotonic()
    with urllib.request.urlopen(f"http://127.0.0.1:{address.port}/metrics", timeout=within) as response:
        text: str = response.read().decode()
    assert time.monotonic() - began < within
    return text


def connected(address: Address, said: bytes, number: int = 1) -> list[socket.socket]:
    """Return connections of those who have *said* something."""
    sockets = [socket.create_connection(address, timeout=5) for _ in range(number)]
    for each in sockets:
        each.sendall(said)
    return sockets


def test_prometheus_is_answered_while_many_say_nothing_and_one_asks_a_letter_at_a_time() -> None:
    done = threading.Event()

    def drip(slow: socket.socket) -> None:
        with suppress(ConnectionError):
            while not done.wait(0.2):
                slow.sendall(b"a")

    with exporting(Answering()) as address, ExitStack() as open_until_the_end:
        # The last one: only time makes it go.
        *silent, slow = connected(address, b"", 60) + connected(address, b"GET /metrics HTTP/1.1\r\nX: ")
        for each in (*silent, slow):
            open_until_the_end.enter_context(each)
        dripping = threading.Thread(target=drip, args=(slow,))
        dripping.start()
        try:
            assert "beers_answer 42.0\n" in scraped(address)
            with suppress(ConnectionError):
                assert slow.recv(1) == b""  # it was left, although it never was silent for long
        finally:
            done.set()
            dripping.join()


def test_prometheus_is_answered_while_others_do_not_read_their_answers(capfd: pytest.CaptureFixture[str]) -> None:
    question = b"GET /metrics HTTP/1.0\r\n\r\n"
    with exporting(Answering("x" * 6_000_000)) as address, ExitStack() as open_until_the_end:
        for each in connected(address, question, 20):  # more than there is room for
            open_until_the_end.enter_context(each)
        assert "beers_answer 42.0\n" in scraped(address, within=6)
    assert capfd.readouterr().err == ""


def test_prometheus_is_answered_and_a_port_that_is_taken_is_named() -> None:
    address = Address("127.0.0.1", processes.free_port())
    exporter = Exporter(registry_of("test", Answering()), address, structlog.get_logger())
    try:
        text = scraped(address)
        assert "beers_answer 42.0\n" in text
        assert 'beers_build_info{component="test",' in text
        with pytest.raises(ConfigurationError, match=f"METRICS_PORT={address.port}: .* in use") as refused:
            Exporter(CollectorRegistry(), address, structlog.get_logger())
        assert "\n" not in str(refused.value)
    finally:
        exporter.stop()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"http://127.0.0.1:{address.port}/metrics")


@pytest.mark.parametrize("given", [{}, {"METRICS_PORT": None}, {"METRICS_PORT": ""}, {"METRICS_PORT": 0}])
def test_without_a_port_there_are_no_metrics(given: dict[str, object]) -> None:
    assert metrics_address(given) is None


def test_metrics_are_for_this_machine_unless_a_host_is_given() -> None:
    assert metrics_address({"METRICS_PORT": 9464}) == ("127.0.0.1", 9464)
    assert metrics_address({"METRICS_PORT": 9464, "METRICS_HOST": "::"}) == ("::", 9464)


@pytest.mark.parametrize("given", ["many", 65_536, -1, 1.5, True])
def test_a_malformed_port_is_named(given: object) -> None:
    with pytest.raises(ConfigurationError, match="METRICS_PORT must be a whole number from 0 to 65535"):
        metrics_address({"METRICS_PORT": given})
