"""How the demo shows what it saw."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from demo.client import Answer
from demo.server import Backend

BEGINNING = 60


def beginning(text: str) -> str:
    """The beginning of an answer on one line, without control characters."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return f'"{line}"' if len(line) <= BEGINNING else f'"{line[:BEGINNING].rstrip()}..."'


def answer_line(answer: Answer) -> str:
    """One answer: who served it, how fast, and how it begins."""
    kind, measure = ("stream", "to the first token") if answer.streamed else ("whole", "in all")
    return (
        f"  {answer.number:>2}  {kind:<6}  {answer.served.backend:<15}  {answer.served.gateway!s:<15}  "
        f"{answer.elapsed_ms:>5.0f} ms {measure:<18}  {beginning(answer.text)}"
    )


def show_backends(backends: Sequence[Backend]) -> None:
    """Print the table of backends."""
    table = Table("backend", "status", "models", title="GET /backends", title_justify="left")
    for figure in ("pending", "total", "avg ms"):
        table.add_column(figure, justify="right")
    for backend in backends:
        average = "-" if backend.avg_latency_ms is None else f"{backend.avg_latency_ms:.0f}"
        names = ", ".join(model.id for model in backend.models)
        counts = (str(backend.pending_requests), str(backend.total_requests))
        table.add_row(backend.id, backend.status, names, *counts, average)
    Console().print(table)


def plural(count: int, noun: str) -> str:
    """A count with its noun, such as `1 process` or `2 backends`."""
    many = noun + ("es" if noun.endswith("s") else "s")
    return f"{count} {noun if count == 1 else many}"
