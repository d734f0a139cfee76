"""`actor-registry history`: who changed what, and when."""

from __future__ import annotations

from typing import Annotated

import typer

from registry.cli.changes import Changes
from registry.cli.messages import understood
from registry.cli.options import AsJsonLines, DataDir, Server, call
from registry.cli.output import print_json_line, print_line, print_table


def history(
    *,
    since: Annotated[int | None, typer.Option(help="Those after this revision; the latest unless given.")] = None,
    limit: Annotated[int, typer.Option(help="How many at most.")] = 100,
    server: Server = None,
    data_dir: DataDir = None,
    as_json: AsJsonLines = False,
) -> None:
    """Show who changed what, and when; the oldest first."""
    wanted = [("limit", str(limit)), *([] if since is None else [("since", str(since))])]
    with call(server, data_dir) as client:
        body = client.get("/history", wanted)
    changes = understood(body, Changes).changes
    if as_json:
        for change in body["changes"]:
            print_json_line(change)
    elif changes:
        print_table(
            ("revision", "time", "by", "change"),
            [cells for change in changes for cells in change.cells()],
            numbers=("revision",),
        )
    else:
        print_line("no changes")
