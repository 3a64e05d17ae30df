"""The beer that every contender is sent, and the messages that carry it: the same bytes for all of them."""

import struct
from typing import Any

from grpc_bridge.proto.beers.v1 import beers_pb2 as v1

BEER: dict[str, Any] = {
    "name": "Pilsner Urquell",
    "brewery": "Plzeňský Prazdroj",
    "style": "Czech Pilsner",
    "abv": 4.4,
    "ibu": 40,
    "description": "The pale lager that all others are named after.",
}
"""An ordinary entry of a catalogue: the first one of examples/beers.csv."""

SERVICE = "/beers.v1.BeersService"


def framed(message: bytes) -> bytes:
    """Return *message* as gRPC sends it: five bytes in front, uncompressed."""
    return struct.pack(">?I", False, len(message)) + message  # noqa: FBT003 - the compressed flag


def add_request() -> bytes:
    """Return the request that adds the beer. It has no request id: the bridge makes one, so each is another command."""
    return v1.AddBeerRequest(**BEER).SerializeToString()


def mixed_request() -> bytes:
    """Return one message that GetBeer, ListBeers and AddBeer all understand.

    h2load sends one body to all paths. A field that comes with another wire type than the declared one counts as
    unknown: so field 1 is a beer's id to GetBeer, a page of fifty to ListBeers and, given once more as text, a name to
    AddBeer.
    """
    number = v1.GetBeerRequest(beer_id=50).SerializeToString()
    return number + v1.AddBeerRequest(name=BEER["name"], abv=BEER["abv"], ibu=BEER["ibu"]).SerializeToString()
