"""`orchestrator key`: make, list and revoke the keys of callers beside the operator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from worker_orchestrator.cli.output_option import output_option
from worker_orchestrator.cli.service_connection import with_client

if TYPE_CHECKING:
    from worker_orchestrator.client import Client
    from worker_orchestrator.wire.keys import Key

__all__ = ["COMMANDS"]

_RIGHTS: Final = ("assign", "exec", "files", "read")


def _words(_ctx: click.Context, _option: click.Parameter, value: str | None) -> list[str] | None:
    return None if value is None else [word.strip() for word in value.split(",") if word.strip()]


@click.group(short_help="Make, list and revoke keys of other callers.")
def key() -> None:
    """Keys let other callers in beside the operator. Each sees and touches its own projects only.

    The operator has the service's token, and calls a key's project NAME:PROJECT. A service without a token treats whoever
    calls without a key as its operator.
    """


@key.command()
@click.argument("name")
@click.option("--pools", metavar="A,B", callback=_words, help="The pools from which it gets machines. Default: all.")
@click.option(
    "--max-machines", type=click.IntRange(min=1), metavar="N", help="Machines that its projects may have at once."
)
@click.option(
    "--may", metavar="RIGHTS", callback=_words, help=f"What it may do, of {','.join(_RIGHTS)}. Default: all of these."
)
@output_option("text", "json")
@with_client
def create(
    client: Client, name: str, *, pools: list[str] | None, max_machines: int | None, may: list[str] | None, output: str
) -> None:
    """Make the key NAME, and print it. It is shown only now: the service keeps a hash of it.

    Whoever has it passes it as the token: ORCHESTRATOR_TOKEN, --token-file, or the header `Authorization: Bearer KEY`.
    """
    new = client.create_key(name, pools=pools or (), max_machines=max_machines, may=may)
    if output == "json":
        from worker_orchestrator.cli.text_formats import json_document  # noqa: PLC0415 # only for this format

        click.echo(json_document(new))
    else:
        click.echo(new.value)
    if new.note is not None:
        click.echo(new.note, err=True)


@key.command("list")
@output_option("text", "json")
@with_client
def list_(client: Client, *, output: str) -> None:
    """List the keys, without their values."""
    keys = client.keys()
    if output == "json":
        from worker_orchestrator.cli.text_formats import json_document  # noqa: PLC0415 # only for this format

        click.echo(json_document(keys))
        return
    for one in keys:
        click.echo(_in_words(one))
    if not keys:
        click.echo("There are no keys. `orchestrator key create NAME` makes one.", err=True)


@key.command()
@click.argument("name")
@with_client
def revoke(client: Client, name: str) -> None:
    """Revoke the key NAME: at once nobody is let in with it, and its streams end. Its projects keep their machines."""
    revoked = client.revoke_key(name)
    left = (
        f" Its projects have {revoked.machines} machines: `orchestrator list` shows them." if revoked.machines else ""
    )
    click.echo(f"{revoked.name} is revoked.{left}")


def _in_words(one: Key) -> str:
    from worker_orchestrator.cli.text_formats import utc_time  # noqa: PLC0415 # only to show keys

    most = "no limit" if one.max_machines is None else f"at most {one.max_machines}"
    used = "never used" if one.used_at is None else f"used {utc_time(one.used_at)}"
    return (
        f"{one.name}  pools {','.join(one.pools) or 'all'}  machines {one.machines} ({most})  may {','.join(one.may)}  "
        f"created {utc_time(one.created_at)}  {used}"
    )


COMMANDS: Final = (key,)
