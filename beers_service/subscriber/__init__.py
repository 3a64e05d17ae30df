"""What other Nameko services follow the catalogue with: every event has its effect, and has it once.

    from beers_service.subscriber import subscribe

    class TapList:
        name = "taplist"

        @subscribe("BeerAdded", "BeerRemoved", database="${TAPLIST_DATABASE_URL:sqlite:///var/taplist.db}")
        def on_beer(self, event, connection):
            connection.execute(...)

A handler gets the event (the envelope, as a dictionary) and a SQLAlchemy connection in the middle of a transaction. In
that very transaction the event is noted as done, in tables ``beers_inbox_*`` beside the handler's own. So what the
handler does *through this connection* happens exactly once, though the bus delivers at least once and the process may
be killed at any moment. Whatever else it does (a message, an e-mail, another database) happens at least once. It must
not commit or roll back: the kit commits when it returns, and undoes everything when it raises.

- A handler that raises gets the event again, after growing delays. When they are used up the event goes to the queue
  ``<queue>.dead-letters`` with the reason, and so does, at once, a message that is no event.
  ``beers admin dead-letters --queue <queue>.dead-letters`` lists, shows, replays and drops them.
- Every position is accounted for. One that stays missing is fetched from the service ``beers`` by RPC.
- When a backup of the catalogue was restored, a subscriber that has taken events which are gone does not start until
  ``FOLLOW_LOG`` (in the configuration or the environment) names the new log and the position behind which to go on.
- ``@event_handler("beers", …)`` goes on working beside it, also in the same class.
"""

from beers_service.subscriber.entrypoint import Subscribe, subscribe

__all__ = ["Subscribe", "subscribe"]
