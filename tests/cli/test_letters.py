"""`beers admin dead-letters` and `beers admin replay`, on a real broker."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import amqp
import pytest

from beers_cli.rabbitmq import RabbitMQNode
from beers_service import admin
from beers_service.dead_letter_queue import DeadLetterQueue
from beers_service.domain.commands import add, rename
from beers_service.store.engine import connect
from beers_service.store.event_log import SqlEventLog
from beers_service.store.reader import SqlReader
from beers_service.writer import Request, Writer
from tests.cli.conftest import Run

LETTERS = "evt-beers--x.y.dead-letters"
ORIGIN = "evt-beers--x.y"


@pytest.fixture
def channel(
    module_amqp_uri: str, rabbitmq_node: RabbitMQNode, monkeypatch: pytest.MonkeyPatch
) -> Iterator[amqp.Channel]:
    """A channel with two empty queues, those of a subscriber."""
    monkeypatch.setenv("AMQP_URI", module_amqp_uri)
    host = module_amqp_uri.rpartition("/")[2]
    with amqp.Connection(f"127.0.0.1:{rabbitmq_node.port}", virtual_host=host) as connection:
        channel = connection.channel()
        for queue in (LETTERS, ORIGIN):
            channel.queue_declare(queue, durable=True, auto_delete=False)
            channel.queue_purge(queue)
        yield channel


def put(channel: amqp.Channel, position: int, **headers: Any) -> None:
    body = {"id": f"log:{position}", "type": "BeerAdded", "position": position, "beer_id": 1, "data": {}}
    told = {
        "x-reason": f"ValueError: no {position}", "x-exception": "ValueError", "x-attempts": 5, "x-queue": ORIGIN,
        "x-time": "2026-11-24T12:00:00.000000Z", "x-routing-key": "BeerAdded", "x-attempt": 4,
        "ce-id": f"log:{position}",
    }  # fmt: skip
    message = amqp.Message(
        json.dumps(body),
        content_type="application/json",
        application_headers={name: value for name, value in (told | headers).items() if value is not None},
    )
    channel.basic_publish(message, "", LETTERS)


def count(channel: amqp.Channel, queue: str) -> int:
    return channel.queue_declare(queue, passive=True).message_count


def test_letters_are_listed_with_their_reasons_and_stay_in_their_order(channel: amqp.Channel, beers: Run) -> None:
    for position in (1, 2, 3):
        put(channel, position)
    channel.basic_publish(amqp.Message(b"\xff{"), "", LETTERS)
    for _ in range(2):
        listed = beers("admin", "dead-letters", "list", "--queue", LETTERS, "--json").document
        assert [(letter["number"], letter["id"], letter["position"]) for letter in listed] == [
            (1, "log:1", 1), (2, "log:2", 2), (3, "log:3", 3), (4, "", ""),
        ]  # fmt: skip
        assert (listed[0]["reason"], listed[0]["attempts"]) == ("ValueError: no 1", 5)
    table = beers("admin", "dead-letters", "list", "--queue", LETTERS).out
    assert "4 letters in" in table
    assert "log:2" in table


def test_a_letter_is_shown_whole(channel: amqp.Channel, beers: Run) -> None:
    put(channel, 7)
    shown = beers("admin", "dead-letters", "show", "1", "--queue", LETTERS).out
    for words in ("ValueError: no 7", ORIGIN, '"position": 7', "ce-id"):
        assert words in shown
    missing = beers("admin", "dead-letters", "show", "2", "--queue", LETTERS)
    assert missing.status == 1
    assert "no letter 2" in missing.err


def test_a_replayed_letter_goes_back_as_if_it_had_never_been_tried(channel: amqp.Channel, beers: Run) -> None:
    for position in (1, 2, 3):
        put(channel, position)
    assert beers("admin", "dead-letters", "replay", "2", "--queue", LETTERS, "--json").document == {"replayed": 1}
    message = channel.basic_get(ORIGIN, no_ack=True)
    assert message is not None
    assert json.loads(message.body)["position"] == 2
    assert message.properties["content_type"] == "application/json"
    assert message.properties["application_headers"] == {"ce-id": "log:2"}
    left = beers("admin", "dead-letters", "list", "--queue", LETTERS, "--json").document
    assert [letter["position"] for letter in left] == [1, 3]
    assert "2 letters replayed" in beers("admin", "dead-letters", "replay", "--all", "--queue", LETTERS).out
    assert count(channel, LETTERS) == 0
    assert count(channel, ORIGIN) == 2


def test_a_letter_that_cannot_go_back_stays_with_those_after_it(channel: amqp.Channel, beers: Run) -> None:
    put(channel, 1)
    put(channel, 2, **{"x-queue": "gone"})
    put(channel, 3)
    failed = beers("admin", "dead-letters", "replay", "--all", "--queue", LETTERS)
    assert failed.status == 1
    assert "There is no queue gone" in failed.err
    left = beers("admin", "dead-letters", "list", "--queue", LETTERS, "--json").document
    assert [letter["position"] for letter in left] == [2, 3]
    channel.queue_purge(LETTERS)
    put(channel, 4, **{"x-queue": None})
    assert "does not say which queue" in beers("admin", "dead-letters", "replay", "1", "--queue", LETTERS).err
    assert count(channel, LETTERS) == 1


def test_letters_are_dropped_only_by_who_means_it(channel: amqp.Channel, beers: Run) -> None:
    for position in (1, 2, 3):
        put(channel, position)
    asked = beers("admin", "dead-letters", "drop", "--all", "--queue", LETTERS)
    assert asked.status == 2
    assert "--yes" in asked.err
    assert count(channel, LETTERS) == 3
    assert beers("admin", "dead-letters", "drop", "2", "--yes", "--queue", LETTERS, "--json").document == {"dropped": 1}
    left = beers("admin", "dead-letters", "list", "--queue", LETTERS, "--json").document
    assert [letter["position"] for letter in left] == [1, 3]
    assert beers("admin", "dead-letters", "drop", "3", "--yes", "--queue", LETTERS).status == 1
    beers("admin", "dead-letters", "drop", "--all", "--yes", "--queue", LETTERS)
    assert count(channel, LETTERS) == 0


def test_nobody_touches_a_letter_while_somebody_else_looks(
    channel: amqp.Channel, module_amqp_uri: str, beers: Run
) -> None:
    for position in (1, 2, 3):
        put(channel, position)
    others = DeadLetterQueue(module_amqp_uri, LETTERS).letters()
    assert next(others).number == 1
    for command in (["list"], ["show", "1"], ["replay", "1"], ["drop", "1", "--yes"], ["drop", "--all", "--yes"]):
        refused = beers("admin", "dead-letters", *command, "--queue", LETTERS)
        assert refused.status == 1
        assert f"Somebody else looks at {LETTERS}" in refused.err
    assert [letter.number for letter in others] == [2, 3]
    listed = beers("admin", "dead-letters", "list", "--queue", LETTERS, "--json").document
    assert [letter["position"] for letter in listed] == [1, 2, 3]
    assert count(channel, ORIGIN) == 0


def test_a_look_that_is_broken_off_leaves_the_letters_in_their_order(
    channel: amqp.Channel, module_amqp_uri: str, beers: Run
) -> None:
    for position in range(1, 1001):
        put(channel, position)
    broken_off = DeadLetterQueue(module_amqp_uri, LETTERS).letters()
    for _ in range(700):
        next(broken_off)
    broken_off.close()
    listed = beers("admin", "dead-letters", "list", "--queue", LETTERS, "--json").document
    assert [letter["position"] for letter in listed] == list(range(1, 1001))
    assert beers("admin", "dead-letters", "show", "900", "--queue", LETTERS, "--json").document["position"] == 900
    assert beers("admin", "dead-letters", "drop", "--all", "--yes", "--queue", LETTERS, "--json").document == {
        "dropped": 1000
    }
    assert count(channel, LETTERS) == 0


def test_a_list_does_not_ask_for_each_letter(
    channel: amqp.Channel, module_amqp_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for position in range(1, 51):
        put(channel, position)
    asked = []
    send = amqp.Channel.send_method

    def noted(self: amqp.Channel, sig: tuple[int, int], *arguments: Any, **options: Any) -> Any:
        asked.append(sig)
        return send(self, sig, *arguments, **options)

    monkeypatch.setattr(amqp.Channel, "send_method", noted)
    assert len(list(DeadLetterQueue(module_amqp_uri, LETTERS).letters())) == 50
    assert len(asked) < 10


@pytest.mark.parametrize("command", ["replay", "drop"])
@pytest.mark.parametrize("arguments", [[], ["1", "--all"], ["0"], ["x"]])
def test_which_letters_must_be_said(beers: Run, command: str, arguments: list[str]) -> None:
    assert beers("admin", "dead-letters", command, *arguments).status == 2


@pytest.mark.parametrize(("queue", "words"), [("q" * 300, "at most 255 bytes"), ("", "must name a queue")])
@pytest.mark.parametrize(
    "command", [["dead-letters", "list", "--queue"], ["replay", "--from", "1", "--to-queue"]], ids=["list", "replay"]
)
def test_a_name_that_no_queue_can_have_is_refused(beers: Run, command: list[str], queue: str, words: str) -> None:
    refused = beers("admin", *command, queue)
    assert refused.status == 2
    assert words in " ".join(refused.err.split())


@pytest.mark.usefixtures("channel")
def test_a_queue_that_is_not_there_is_told_of_in_words(beers: Run) -> None:
    failed = beers("admin", "dead-letters", "list", "--queue", "nowhere")
    assert failed.status == 1
    assert "There is no queue nowhere" in failed.err


@pytest.mark.parametrize(
    ("uri", "words"), [("amqp://me:s3cret@127.0.0.1:1/", "does not answer"), ("nonsense", "AMQP_URI must look like")]
)
def test_a_broker_that_is_away_is_told_of_without_its_password(beers: Run, uri: str, words: str) -> None:
    failed = beers("admin", "dead-letters", "list", "--amqp-uri", uri)
    assert failed.status == 1
    assert words in failed.err
    assert "s3cret" not in failed.err


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store with 1,200 events, every third of which is a renaming."""
    url = f"sqlite:///{tmp_path}/beers.db"
    monkeypatch.setenv("DATABASE_URL", url)
    admin.migrate(url)
    engine = connect(url)
    writer = Writer(SqlEventLog(engine), SqlReader(engine), lambda: datetime(2026, 11, 24, tzinfo=UTC), lambda: None)
    commands = [add(name="x") if number % 3 != 2 else rename(1, f"name {number}") for number in range(1200)]
    outcomes = writer.submit(
        [
            Request(commands=(command,), request_id=f"r-{number}", correlation_id="c", expected_version=None)
            for number, command in enumerate(commands)
        ]
    )
    assert len(outcomes) == 1200
    engine.dispose()
    return url


@pytest.mark.usefixtures("store")
def test_past_events_are_sent_to_one_queue_alone_in_their_order(channel: amqp.Channel, beers: Run) -> None:
    channel.exchange_declare("beers.events", "topic", durable=True, auto_delete=False)
    channel.queue_bind(LETTERS, "beers.events", "#")
    sent = beers("admin", "replay", "--from", "100", "--to", "1150", "--to-queue", ORIGIN, "--json").document
    assert sent == {"events": 1051, "queue": ORIGIN}
    positions = []
    while message := channel.basic_get(ORIGIN, no_ack=True):
        assert message.properties["content_type"] == "application/json"
        positions.append(json.loads(message.body)["position"])
    assert positions == list(range(100, 1151))
    assert count(channel, LETTERS) == 0
    renamed = beers("admin", "replay", "--from", "1", "--type", "BeerNameChanged", "--to-queue", ORIGIN)
    assert f"400 events sent to {ORIGIN}" in renamed.out


@pytest.mark.usefixtures("store", "channel")
@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--from", "1", "--to-queue", "nowhere"], 1, "there is no queue nowhere"),
        (["--from", "1201", "--to-queue", ORIGIN], 1, "the log ends at position 1200"),
        (["--from", "5", "--to", "4", "--to-queue", ORIGIN], 2, "--to must not lie before --from"),
        (["--from", "0", "--to-queue", ORIGIN], 2, "--from"),
        (["--from", "1", "--type", "Nonsense", "--to-queue", ORIGIN], 2, "--type must be one of BeerAdded"),
        (["--from", "1"], 2, "--to-queue"),
    ],
)
def test_a_replay_that_cannot_be_is_refused_in_words(
    channel: amqp.Channel, beers: Run, arguments: list[str], status: int, words: str
) -> None:
    refused = beers("admin", "replay", *arguments)
    assert refused.status == status
    assert words in refused.err
    assert count(channel, ORIGIN) == 0


@pytest.mark.parametrize("service", ["nonsense", "a:", ":b", "a:1", "x:Bridge", "x:RabbitMQ"])
def test_a_service_to_run_beside_it_must_be_named_well(beers: Run, service: str) -> None:
    refused = beers("up", "--with", service)
    assert refused.status == 2
    assert "--with" in refused.err
