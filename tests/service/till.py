"""A service between a caller and the catalogue, as a Python team would write it."""

from typing import Any

from nameko.rpc import RpcProxy, rpc


class Till:
    """Adds beers for whoever calls it."""

    name = "till"

    beers = RpcProxy("beers")

    @rpc
    def add(self, name: str) -> Any:
        """Add a beer."""
        return self.beers.add(name)
