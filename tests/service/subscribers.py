"""A stock Nameko service that follows the catalogue: what any team would write."""

import os
from pathlib import Path
from typing import Any

from nameko.events import event_handler


class Follower:
    """Notes the position of every beer added."""

    name = "follower"

    @event_handler("beers", "BeerAdded")
    def on_added(self, event: dict[str, Any]) -> None:
        """Note *event*."""
        with Path(os.environ["FOLLOWER_FILE"]).open("a") as file:
            file.write(f"{event['position']} {event['type']} {event['data']['name']}\n")
