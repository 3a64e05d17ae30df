"""The service as a Python team meets it."""

from collections.abc import Iterator
from typing import Any

import pytest
from nameko.standalone.rpc import ClusterRpcProxy

from tests.processes import PATIENCE


@pytest.fixture
def beers(fresh_amqp_uri: str) -> Iterator[Any]:
    """What a Python team calls: the service's proxy over a stock client."""
    with ClusterRpcProxy({"AMQP_URI": fresh_amqp_uri}, timeout=PATIENCE) as cluster:
        yield cluster.beers
