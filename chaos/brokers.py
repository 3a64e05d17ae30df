"""A cluster of private RabbitMQ nodes on this machine, and who leads which of its queues."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from beers_cli.rabbitmq import RabbitMQError, RabbitMQNode

START_PATIENCE = 120.0
_LOOK_EVERY = 0.1


def names(count: int) -> tuple[str, ...]:
    """Return the names of so many nodes."""
    return tuple(f"rabbitmq-{number}" for number in range(1, count + 1))


def described(folder: Path, count: int, say: Callable[[str], None]) -> dict[str, RabbitMQNode]:
    """Return the nodes of a cluster, by name; none of them runs yet."""
    more = ["cluster_formation.peer_discovery_backend = classic_config", "cluster_partition_handling = pause_minority"]
    more += [
        f"cluster_formation.classic_config.nodes.{number} = {name}@localhost"
        for number, name in enumerate(names(count), start=1)
    ]
    nodes: dict[str, RabbitMQNode] = {}
    first: RabbitMQNode | None = None
    for name in names(count):
        node = nodes[name] = RabbitMQNode(folder / name, say=say, more=more, name=f"{name}@localhost", neighbour=first)
        if first is None:
            first = node
            first.prepare()  # so that the others know where to find it
    return nodes


def start(nodes: Mapping[str, RabbitMQNode]) -> None:
    """Start the nodes and wait until they are one cluster.

    Raises:
        RabbitMQError: If they do not come that far within `START_PATIENCE` seconds.
    """
    deadline = time.monotonic() + START_PATIENCE
    first, *others = nodes.values()
    first.start(START_PATIENCE)  # whom the others join
    for node in others:
        node.begin()
    for node in others:
        while not node.answers():
            if node.process.poll() is not None or time.monotonic() > deadline:
                raise RabbitMQError(f"{node.name} did not join its cluster. Its log: {node.log}")
            time.sleep(_LOOK_EVERY)
    first.control("await_online_nodes", str(len(nodes)))


def leader(nodes: Mapping[str, RabbitMQNode], queue: str) -> str:
    """Return the name of the node that leads *queue*, a quorum queue."""
    (found,) = [row["leader"] for row in _queues(nodes) if row["name"] == queue]
    return next(name for name, node in nodes.items() if node.name == found)


def is_whole(nodes: Mapping[str, RabbitMQNode]) -> bool:
    """Tell whether all nodes are there and every quorum queue has a member on each of them."""
    if not all(node.pid is not None and node.answers() for node in nodes.values()):
        return False
    try:
        return all(len(row["online"]) == len(nodes) for row in _queues(nodes) if row["type"] == "quorum")
    except RabbitMQError:  # one that is just starting
        return False


def _queues(nodes: Mapping[str, RabbitMQNode]) -> list[dict[str, Any]]:
    node = next(node for node in nodes.values() if node.pid is not None)
    listed = node.control("list_queues", "name", "type", "leader", "online", "--formatter", "json")
    rows: list[dict[str, Any]] = json.loads(listed)
    return rows
