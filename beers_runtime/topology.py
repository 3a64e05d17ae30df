"""What things on the broker are called: service, bridge, subscribers and whoever grants rights agree on it here."""

SERVICE = "beers"

RPC_EXCHANGE = "nameko-rpc"
"""Nameko's own: calls go to ``<service>.<method>``, answers to an identifier that the caller has made up."""

EVENTS_EXCHANGE = "beers.events"
"""What has happened, under the type of the event."""

RPC_QUEUE = f"rpc-{SERVICE}"

DEAD_LETTERS = ".dead-letters"
"""How the name of a queue of dead letters ends."""

BRIDGE_REPLIES = "rpc.reply-beers-bridge-"
"""How the name of a bridge's reply queue begins."""

BRIDGE_FEED = "beers-bridge-feed-"
"""How the name of the queue begins through which a bridge follows the events."""

SUBSCRIPTIONS = f"evt-{SERVICE}--"
"""How the names of everything begin that a subscriber of the kit makes; its own name follows, and a dot."""
