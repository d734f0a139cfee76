"""`python -m bench NAME [--json] [--seconds N] [--seed N]`.

Exit code 0 if every goal held, 1 if not, 2 if it could not be run.
"""

from __future__ import annotations

import argparse
import importlib
import math
import secrets
import signal
import sys
from collections.abc import Generator, Sequence
from contextlib import closing
from typing import NoReturn, Protocol, cast

from actors.errors import ActorsError
from bench.figures import Figure, header

BENCHMARKS = ("queue", "registry", "services", "faults")
"""The modules of this package that measure something."""


class Benchmark(Protocol):
    """What such a module has."""

    SECONDS: float

    def run(self, seconds: float, seed: int, /) -> Generator[Figure, None, None]:
        """Measure for about that many seconds; what is left to chance follows from the seed."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"bench: {message}.\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a benchmark and print its figures; returns the exit code."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a script's background job would ignore it
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    options = _parser().parse_args(argv)
    benchmark = cast("Benchmark", importlib.import_module(f"bench.{options.name}"))
    seconds = benchmark.SECONDS if options.seconds is None else options.seconds
    try:
        return _print(benchmark, seconds, options.seed, as_json=options.json)
    except (ActorsError, TimeoutError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bench: interrupted.", file=sys.stderr)
        return 128 + signal.SIGINT


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m bench", description="Measure the figures this project promises.")
    parser.add_argument("name", choices=BENCHMARKS, metavar="NAME", help=f"one of: {', '.join(BENCHMARKS)}")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument("--seconds", type=_seconds, metavar="N", help="about how long it may take")
    parser.add_argument(
        "--seed", type=int, default=secrets.randbelow(2**32), metavar="N", help="repeat what another run left to chance"
    )
    return parser


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not (seconds > 0 and math.isfinite(seconds)):
        message = f"must be a number above 0, not {text!r}"
        raise argparse.ArgumentTypeError(message)
    return seconds


def _print(benchmark: Benchmark, seconds: float, seed: int, *, as_json: bool) -> int:
    if not as_json:
        print(header(), flush=True)
    missed: list[str] = []
    with closing(benchmark.run(seconds, seed)) as figures:
        for figure in figures:
            print(figure.as_json() if as_json else figure.as_row(), flush=True)
            if figure.holds is False:
                missed.append(f"{figure.name} is {figure.value:g}, not {figure.goal}")
    if missed:
        print(f"bench: {'; '.join(missed)}.", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
