"""The frames that publish a message are what py-amqp, and so any client, reads as that message."""

import struct
from collections.abc import Iterator
from typing import Any

import pytest
from amqp import spec
from amqp.basic_message import Message
from amqp.serialization import loads
from hypothesis import given
from hypothesis import strategies as st

from beers_service.frames import Outgoing, publishing

TEXT = st.text(max_size=60)
PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        "content_type": TEXT,
        "content_encoding": TEXT,
        "correlation_id": TEXT,
        "message_id": TEXT,
        "type": TEXT,
        "delivery_mode": st.sampled_from([1, 2]),
        "application_headers": st.dictionaries(TEXT, TEXT | st.integers(-(2**63), 2**63 - 1), max_size=5),
    },
)


def frames(sent: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield type, channel and payload of each frame."""
    while sent:
        kind, channel, size = struct.unpack_from(">BHL", sent)
        assert sent[7 + size] == 0xCE
        yield kind, channel, sent[7 : 7 + size]
        sent = sent[8 + size :]


@given(
    properties=PROPERTIES,
    body=st.binary(max_size=300),
    key=TEXT,
    mandatory=st.booleans(),
    frame_max=st.integers(50, 400),
)
def test_what_is_published_is_what_a_client_reads(
    properties: dict[str, Any],
    body: bytes,
    key: str,
    mandatory: bool,  # noqa: FBT001 - Hypothesis gives it by name
    frame_max: int,
) -> None:
    sent = publishing(Outgoing(body, "beers.events", key, properties, mandatory), channel=7, frame_max=frame_max)
    (method, header, *bodies) = frames(sent)
    assert {channel for _, channel, _ in (method, header, *bodies)} == {7}
    assert [method[0], header[0], *(kind for kind, _, _ in bodies)] == [1, 2] + [3] * len(bodies)
    assert struct.unpack_from(">HH", method[2]) == spec.Basic.Publish
    arguments, _ = loads("Bssbb", method[2], 4)
    assert arguments[1:] == ["beers.events", key, mandatory, False]
    class_id, weight, size = struct.unpack_from(">HHQ", header[2])
    assert (class_id, weight, size) == (60, 0, len(body))
    read = Message()
    read._load_properties(60, header[2], 12)
    assert read.properties == properties
    assert b"".join(payload for _, _, payload in bodies) == body
    assert all(len(payload) + 8 <= frame_max for _, _, payload in bodies)


def test_a_property_that_cannot_be_written_is_refused_and_not_left_out() -> None:
    with pytest.raises(ValueError, match="priority"):
        publishing(Outgoing(b"", "", "", {"priority": 1}), 1, 131072)


def test_a_text_that_amqp_cannot_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        publishing(Outgoing(b"", "", "", {"type": "x" * 256}), 1, 131072)
