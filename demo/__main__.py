"""`python -m demo`, or `make demo`.

On a terminal it keeps serving at the end, until Ctrl-C; with `ONCE=1`, or without a terminal, it ends.
"""

import argparse
import os
import signal
import sys
from contextlib import ExitStack
from types import FrameType
from typing import TextIO

from demo.errors import DemoError, Stopped

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    """Run the demo; returns the exit code."""
    # It takes no arguments, but says what it does when asked.
    argparse.ArgumentParser(prog="python -m demo", description=__doc__).parse_args()
    for number in SIGNALS:
        signal.signal(number, stop)
    try:
        run()
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except Stopped as error:
        print(f"demo: stopped by {signal.Signals(error.number).name}.", file=sys.stderr)
        return 128 + error.number
    return 0


def run() -> None:
    """Start everything, show it, and stop it whatever happens.

    Raises:
        DemoError: A step failed.
        Stopped: A signal came.
    """
    # Now, when a signal already has its handler: this takes a good part of a second.
    from demo import story  # noqa: PLC0415

    for stream in (sys.stdout, sys.stderr):
        make_readable(stream)
    with ExitStack() as stack:
        try:
            server = story.start(stack)
            story.show(server)
            if sys.stdout.isatty() and os.environ.get("ONCE") != "1":
                story.keep_serving(server)
        finally:
            ignore_signals()


def stop(number: int, _frame: FrameType | None) -> None:
    """End the demo at a signal."""
    ignore_signals()
    raise Stopped(number)


def ignore_signals() -> None:
    """Let nothing interrupt the stopping of the servers, which has a deadline of its own."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def make_readable(stream: TextIO | None) -> None:
    """Show each line at once, and a character that the terminal lacks as its number instead of an error."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(line_buffering=True, errors="backslashreplace")


if __name__ == "__main__":
    sys.exit(main())
