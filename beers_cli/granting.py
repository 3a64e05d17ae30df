"""`beers admin rabbitmq-permissions`: tells an operator, or RabbitMQ itself, who needs which rights."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from beers_cli import permissions
from beers_cli.failure import Failure
from beers_cli.options import print_json
from beers_cli.permissions import User


class Form(StrEnum):
    """How the rights are told."""

    TEXT = "text"
    COMMANDS = "commands"
    DEFINITIONS = "definitions"


def _names(values: list[str] | None) -> list[str] | None:
    for value in values or ():
        if not re.fullmatch(r"[A-Za-z0-9_-]+", value):
            raise typer.BadParameter(
                f"must be the name of a Nameko service, of letters, digits, - and _; not {value!r}"
            )
        if value in permissions.OWN:
            raise typer.BadParameter(f"{value!r} is what a user of the product itself is called; rename the subscriber")
    return values


def rabbitmq_permissions(
    *,
    subscribers: Annotated[
        list[str] | None,
        typer.Option(
            "--subscriber",
            metavar="NAME",
            callback=_names,
            help="A Nameko service that follows the events through the kit, by its name; may be given again.",
        ),
    ] = None,
    virtual_host: Annotated[str, typer.Option("--virtual-host", metavar="NAME", help="Where everything is.")] = "/",
    prefix: Annotated[str, typer.Option(metavar="TEXT", help="What the names of the users begin with.")] = "beers-",
    form: Annotated[
        Form,
        typer.Option("--format", help="For people, as rabbitmqctl commands for a shell, or as definitions to import."),
    ] = Form.TEXT,
    passwords: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            file_okay=False,
            help="A file for each user, called like it, that holds the password: the definitions then make the users,"
            " with hashes of these. Without it they have to be there.",
        ),
    ] = None,
) -> None:
    """Tell which users RabbitMQ needs for service, bridge and subscribers, each with no more rights than it uses.

    `… --format commands | sh` grants them where rabbitmqctl works; `… --format definitions` goes to a file for
    `rabbitmqctl import_definitions` or `load_definitions` in rabbitmq.conf.
    """
    if passwords is not None and form is not Form.DEFINITIONS:
        raise typer.BadParameter("--passwords needs --format definitions: nothing else holds them")
    granted = permissions.users(prefix, dict.fromkeys(subscribers or ()))
    match form:
        case Form.TEXT:
            typer.echo("\n\n".join(_told(user) for user in granted))
        case Form.COMMANDS:
            typer.echo("\n".join(permissions.commands(granted, virtual_host)))
        case Form.DEFINITIONS:
            known = {} if passwords is None else {user.name: _password(passwords / user.name) for user in granted}
            print_json(permissions.definitions(granted, virtual_host, known))


def _told(user: User) -> str:
    lines = [user.name, f"  configure  {user.configure}", f"  write      {user.write}", f"  read       {user.read}"]
    for topic in user.topics:
        lines.append(f"  with the routing keys, on {topic.exchange}:")
        lines += [f"    write    {topic.write}", f"    read     {topic.read}"]
    return "\n".join(lines)


def _password(file: Path) -> str:
    try:
        password = file.read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise Failure(f"Cannot read the password in {file}: {reason}.") from error
    if not password:
        raise Failure(f"There is no password in {file}.")
    return password
