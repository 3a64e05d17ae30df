"""`beers admin`: one-off work on the store itself and on the broker's queues, past the service."""

import sys
from typing import TYPE_CHECKING, Annotated, Self

import typer

from beers_cli import dead_letters
from beers_cli.failure import Failure
from beers_cli.granting import rabbitmq_permissions
from beers_cli.options import AmqpUri, AsJson, broker_uri, print_json, queue_name
from beers_cli.progress import Progress
from beers_runtime import configuration

if TYPE_CHECKING:
    from types import ModuleType

commands = typer.Typer(no_args_is_help=True, help="Look after the store and the queues.")
commands.add_typer(dead_letters.commands, name="dead-letters")
commands.command("rabbitmq-permissions")(rabbitmq_permissions)

DatabaseUrl = Annotated[
    str,
    typer.Option(
        metavar="URL", envvar="DATABASE_URL", help="The store; by default that of config.yaml.", show_default=False
    ),
]


@commands.command()
def migrate(*, database_url: DatabaseUrl = "", as_json: AsJson = False) -> None:
    """Bring the store's schema to the newest revision. An up-to-date one is left alone."""
    with _Store(database_url) as store:
        done = store.module.migrate(store.url)
    if as_json:
        print_json({"before": done.before, "after": done.after})
    elif done.before == done.after:
        typer.echo(f"The store is up to date, at revision {done.after}.")
    else:
        typer.echo(f"The store was at revision {done.before or 'none'}; it is now at {done.after}.")


@commands.command()
def verify(*, database_url: DatabaseUrl = "", as_json: AsJson = False) -> None:
    """Check that the log has no gap and that every beer is what its history says; exit status 1 if not."""
    with _Store(database_url) as store, Progress("checked", None) as progress:
        found = store.module.verify(store.url, lambda done, _all: progress.update(done, done))
    if as_json:
        print_json({"events": found.events, "beers": found.beers, "problems": found.problems})
    else:
        for problem in found.problems:
            typer.echo(problem, err=True)
        verdict = f"{len(found.problems)} problems" if found.problems else "nothing is wrong"
        typer.echo(f"{found.events:,} events and {found.beers:,} beers checked: {verdict}.")
    if found.problems:
        raise typer.Exit(1)


@commands.command()
def rebuild(*, database_url: DatabaseUrl = "", as_json: AsJson = False) -> None:
    """Fold all beers anew from the log. Commands wait in the meantime."""
    with _Store(database_url) as store, Progress("rebuilt", None) as progress:
        count = store.module.rebuild(store.url, lambda done, _all: progress.update(done, done))
    if as_json:
        print_json({"beers": count})
    else:
        typer.echo(f"{count:,} beers rebuilt from the log.")


@commands.command("new-log-id")
def new_log_id(
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    database_url: DatabaseUrl = "",
    as_json: AsJson = False,
) -> None:
    """Give the log of a store that was restored a new id, before a service uses it.

    It will give the positions of lost events out again, to others: by the id, those who follow it can tell them apart.
    Refused while a service uses the store.
    """
    with _Store(database_url) as store:
        if not yes:
            if not sys.stdin.isatty():
                raise typer.BadParameter("nobody is there to be asked: give --yes to have a new id")
            where = configuration.without_password(store.url)
            typer.confirm(f"Give the log in {where} a new id? Its resume tokens end with that.", abort=True)
        done = store.module.new_log_id(store.url)
    if as_json:
        print_json({"before": done.before, "after": done.after, "position": done.position})
        return
    typer.echo(
        f"The log was {done.before}; it is now {done.after}, with the same events up to position {done.position}."
    )
    typer.echo("Watchers with a resume token of before are told OUT_OF_RANGE, and begin anew.")
    typer.echo(f"Subscribers that had come no farther than position {done.position} go on by themselves.")
    typer.echo("Others end at their start, and say what to do.")


@commands.command()
def replay(
    *,
    first: Annotated[int, typer.Option("--from", min=1, metavar="POSITION", help="The first position.")],
    queue: Annotated[
        str, typer.Option("--to-queue", metavar="NAME", callback=queue_name, help="The queue; it has to be there.")
    ],
    last: Annotated[
        int | None, typer.Option("--to", min=1, metavar="POSITION", help="The last position; by default that of now.")
    ] = None,
    types: Annotated[
        list[str] | None, typer.Option("--type", metavar="TYPE", help="Only such events; may be given again.")
    ] = None,
    database_url: DatabaseUrl = "",
    amqp_uri: AmqpUri = "",
    as_json: AsJson = False,
) -> None:
    """Send past events to one queue alone, in the order of the log.

    A subscriber of the kit drops those that it has handled, and fetches those that it lacks by itself: this is for
    others.
    """
    if last is not None and last < first:
        raise typer.BadParameter("--to must not lie before --from")
    uri = broker_uri(amqp_uri)
    with _Store(database_url) as store:
        from beers_service.broker import Broker  # noqa: PLC0415 - no other command needs it
        from beers_service.domain.events import EVENT_TYPES  # noqa: PLC0415
        from beers_service.ports import PublishingFailed  # noqa: PLC0415

        known = [kind.__name__ for kind in EVENT_TYPES]
        if unknown := sorted(set(types or ()) - set(known)):
            raise typer.BadParameter(f"--type must be one of {', '.join(known)}; not {unknown[0]}")
        positions = range(first, sys.maxsize if last is None else last + 1)
        sent = 0

        def on_window(done: int, position: int) -> None:
            nonlocal sent
            sent = done
            progress.update(done, position)

        try:
            with Progress("sent", None) as progress:
                count = store.module.replay(store.url, Broker(uri, 0), queue, positions, types or (), on_window)
        except PublishingFailed as error:
            hint = (
                "Whatever reads it has to be started once, which makes the queue." if "no queue" in str(error) else ""
            )
            where = configuration.without_password(uri)
            raise Failure(f"After {sent:,} events {where} took no more: {error}.", hint) from error
    if as_json:
        print_json({"events": count, "queue": queue})
    else:
        typer.echo(f"{count:,} events sent to {queue}.")


class _Store:
    """The store and the module that works on it, whose errors become words; use it in a `with` statement."""

    def __init__(self, database_url: str) -> None:
        try:
            self.url = database_url or configuration.text(configuration.load(), "DATABASE_URL")
        except configuration.ConfigurationError as error:
            raise Failure(f"{error}.", "Name the store with --database-url or DATABASE_URL.") from error

    def __enter__(self) -> Self:
        # Loaded only here: no other command needs the store's libraries.
        from beers_service import admin  # noqa: PLC0415

        self.module: ModuleType = admin
        return self

    def __exit__(self, _kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        from beers_service.domain.errors import BeersError, StoreUnavailable  # noqa: PLC0415

        where = configuration.without_password(self.url)
        if isinstance(error, StoreUnavailable):
            hint = "Make sure that it runs and can be reached from here, or name another with --database-url."
            raise Failure(f"The store {where} does not answer: {error.args[0]}.", hint) from error
        if isinstance(error, (configuration.ConfigurationError, BeersError, LookupError, self.module.StoreInUse)):
            raise Failure(f"{error} (the store is {where})") from error
