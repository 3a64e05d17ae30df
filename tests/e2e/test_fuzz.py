"""`make fuzz`: how it judges, and the long form of it. The short form runs on the product of `test_up`.

BEERS_TEST_FUZZ_REQUESTS in the environment says how many requests the long one makes; 100,000 take ten minutes.
"""

import os
import random
from pathlib import Path

import grpc
import pytest

from fuzz import judging, requests
from tests.e2e.running import fuzz

REQUESTS = int(os.environ.get("BEERS_TEST_FUZZ_REQUESTS", "0"))


@pytest.mark.skipif(not REQUESTS, reason="BEERS_TEST_FUZZ_REQUESTS says how many requests, 100000 for instance")
@pytest.mark.timeout(240 + REQUESTS / 50)
def test_nothing_that_is_sent_ends_stops_or_fills_the_product_or_makes_it_tell_of_its_inside(tmp_path: Path) -> None:
    fuzz(tmp_path, "--seed", "1", "--requests", str(REQUESTS), patience=180 + REQUESTS / 50)


def test_a_seed_decides_what_is_sent() -> None:
    first, second = ([requests.attempt(chance) for _ in range(200)] for chance in (random.Random(5), random.Random(5)))  # noqa: S311
    assert first == second


@pytest.mark.parametrize(
    ("code", "message", "expected"),
    [
        (grpc.StatusCode.INTERNAL, "internal error; quote 7", "INTERNAL: internal error; quote 7"),
        (
            grpc.StatusCode.UNKNOWN,
            "Unexpected <class 'ValueError'>: x",
            "tells of the inside: Unexpected <class 'ValueError'>: x\n",
        ),
        (grpc.StatusCode.NOT_FOUND, 'File "/usr/lib/x.py"', 'tells of the inside: File "/usr/lib/x.py"\n'),
        (grpc.StatusCode.UNAVAILABLE, "for no reason", "UNAVAILABLE without a reason: for no reason"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", None),
        (grpc.StatusCode.OK, "", None),
    ],
)
def test_an_answer_is_judged_by_its_code_its_reason_and_its_words(
    code: grpc.StatusCode, message: str, expected: str | None
) -> None:
    assert judging.fault("/beers.v1.BeersService/GetBeer", code, message, ()) == expected


def test_gRPCs_own_words_about_headers_are_no_finding_and_any_other_internal_is_one() -> None:  # noqa: N802 - its name
    own = b"\0\x0bgrpc-status\x0213\0\x0cgrpc-message Error parsing ':scheme' metadata"
    assert not judging.internal(own)
    assert judging.internal(b"\0\x0bgrpc-status\x0213\0\x0cgrpc-message\x05other")
    assert judging.exception('{"event": "call failed", "exception": []}') == "an exception in a log: call failed"
    assert judging.exception('{"event": "command"}') is None
