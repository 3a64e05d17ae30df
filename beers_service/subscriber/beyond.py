"""An event that claims a position which the log has not reached: somebody's mistake, or the event of another log."""

from beers_service.dead_letters import Verdict
from beers_service.subscriber.arrivals import Event
from beers_service.subscriber.desk import Desk


def put_aside(desk: Desk, event: Event, head: int) -> None:
    """Copy *event* to the dead letters, since the log ends at *head*; raises one of `desk.NOT_TAKEN`.

    Handled, it would stand in the way of the event that will have its position.
    """
    desk.logger.error("event beyond the log", position=event.position, head=head, queue=desk.mailbox.queue)
    reason = f"beyond the log: its position is {event.position}, and the log ends at {head}"
    desk.mailbox.bury(event.message, Verdict(reason))
    desk.metrics.buried("beyond_log")
