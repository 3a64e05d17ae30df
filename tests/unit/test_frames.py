"""The frames that publish a message are what py-amqp, and so any client, reads as that message."""

import struct
from collections.abc import Iterator
from typing import Any

import pytest
from amqp import spec
from amqp.basic_message import Message as ReadMessage
from amqp.serialization import loads
from hypothesis import given
from hypothesis import strategies as st

from beers_service.frames import Answer, Kind, Message

TEXT = st.text(max_size=60)
HEADERS = st.dictionaries(TEXT, TEXT | st.integers(-(2**63), 2**63 - 1), max_size=5)
SHARED: dict[str, Any] = {
    "content_type": "application/json",
    "content_encoding": "utf-8",
    "delivery_mode": 2,
    "type": "BeerAdded",
    "application_headers": {},
}


def frames(sent: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield type, channel and payload of each frame."""
    while sent:
        kind, channel, size = struct.unpack_from(">BHL", sent)
        assert sent[7 + size] == 0xCE
        yield kind, channel, sent[7 : 7 + size]
        sent = sent[8 + size :]


def read(sent: bytes, exchange: str, key: str, *, mandatory: bool, frame_max: int) -> tuple[dict[str, Any], bytes]:
    """Return the properties and the body of what was *sent* on channel 7, after a look at everything else."""
    (method, header, *bodies) = frames(sent)
    assert {channel for _, channel, _ in (method, header, *bodies)} == {7}
    assert [method[0], header[0], *(kind for kind, _, _ in bodies)] == [1, 2] + [3] * len(bodies)
    assert struct.unpack_from(">HH", method[2]) == spec.Basic.Publish
    arguments, _ = loads("Bssbb", method[2], 4)
    assert arguments[1:] == [exchange, key, mandatory, False]
    message = ReadMessage()
    message._load_properties(60, header[2], 12)
    body = b"".join(payload for _, _, payload in bodies)
    assert struct.unpack_from(">HHQ", header[2]) == (60, 0, len(body))
    assert all(len(payload) + 8 <= frame_max for _, _, payload in bodies)
    return message.properties, body


@given(
    shared=st.fixed_dictionaries(
        {
            "content_type": TEXT,
            "content_encoding": TEXT,
            "delivery_mode": st.sampled_from([1, 2]),
            "type": TEXT,
            "application_headers": HEADERS,
        }
    ),
    message=st.builds(Message, st.binary(max_size=300), TEXT, TEXT, HEADERS),
    key=TEXT,
    mandatory=st.booleans(),
    frame_max=st.integers(50, 400),
)
def test_what_is_published_is_what_a_client_reads(
    shared: dict[str, Any],
    message: Message,
    key: str,
    mandatory: bool,  # noqa: FBT001 - Hypothesis gives it by name
    frame_max: int,
) -> None:
    sent = Kind("beers.events", key, shared, mandatory=mandatory).frames(message, channel=7, frame_max=frame_max)
    properties, body = read(sent, "beers.events", key, mandatory=mandatory, frame_max=frame_max)
    own = {"correlation_id": message.correlation_id, "message_id": message.message_id}
    headers = shared["application_headers"] | message.headers
    assert properties == shared | own | {"application_headers": headers}
    assert body == message.body


@given(
    answer=st.builds(Answer, st.binary(max_size=300), TEXT, st.none() | TEXT, st.sampled_from([1, 2])),
    frame_max=st.integers(50, 400),
)
def test_an_answer_is_what_a_client_reads(answer: Answer, frame_max: int) -> None:
    sent = answer.frames("nameko-rpc", channel=7, frame_max=frame_max)
    properties, body = read(sent, "nameko-rpc", answer.reply_to, mandatory=False, frame_max=frame_max)
    told = {} if answer.correlation_id is None else {"correlation_id": answer.correlation_id}
    json = {"content_type": "application/json", "content_encoding": "utf-8"}
    assert properties == json | told | {"delivery_mode": answer.delivery_mode}
    assert body == answer.body


@pytest.mark.parametrize("properties", [SHARED | {"priority": 1}, {"type": "BeerAdded"}])
def test_properties_other_than_those_that_are_written_are_refused_and_not_left_out(properties: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="messages share"):
        Kind("", "", properties)


def test_a_text_that_amqp_cannot_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        Kind("", "", SHARED | {"type": "x" * 256})
    with pytest.raises(ValueError, match="too long"):
        Kind("", "", SHARED).frames(Message(b"", "x" * 256, "", {}), 1, 131072)
