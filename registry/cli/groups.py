"""A group of commands of which one is meant when none is named."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

HELP = ("--help",)


class ListedByDefault(TyperGroup):
    """`actor-registry leases --json` means `actor-registry leases list --json`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Name `list` where the user has named no command."""
        # While the shell completes a word, nothing is meant yet.
        if not ctx.resilient_parsing and (not args or (args[0].startswith("-") and args[0] not in HELP)):
            args = ["list", *args]
        return super().parse_args(ctx, args)


def group(help: str) -> typer.Typer:  # noqa: A002 - typer's word
    """Make such a group."""
    return typer.Typer(cls=ListedByDefault, help=help, pretty_exceptions_enable=False)
