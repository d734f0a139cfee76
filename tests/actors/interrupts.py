"""Interrupts at every point at which the interpreter would run a signal handler, one after the other.

It does so where a function begins and after each call, of a function in C too. A profiler is called at the same places,
and what it raises goes the same way as what a handler raises.
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from actors import channel, client, ranges, session, spinning

MODULES = {Path(module.__file__ or "").resolve() for module in (channel, client, ranges, session, spinning)}
POINTS = {"call", "return", "c_return"}


class Interrupt(KeyboardInterrupt):
    """Ctrl-C."""


class _Profiler:
    def __init__(self, at: int) -> None:
        self.passed = 0
        self._at = at
        self._known: dict[str, bool] = {}

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        del argument
        if event not in POINTS or not self._is_ours(frame):
            return
        if event == "return" and not self._is_ours(frame.f_back):
            return  # whoever has asked has the answer, and loses it there
        self.passed += 1
        if self.passed == self._at:
            sys.setprofile(None)
            raise Interrupt

    def _is_ours(self, frame: FrameType | None) -> bool:
        filename = "" if frame is None else frame.f_code.co_filename
        known = self._known.get(filename)
        if known is None:
            known = self._known[filename] = Path(filename).resolve() in MODULES
        return known


def interrupted(do: Callable[[], Any], at: int) -> bool:
    """Do something, and interrupt this thread at that point of it; whether it came so far."""
    sys.setprofile(_Profiler(at))
    try:
        do()
    except Interrupt:
        return True
    finally:
        sys.setprofile(None)
    return False


def everywhere(do: Callable[[], Any]) -> Iterator[int]:
    """Do something again and again, each time interrupted a point later, until it is done before it comes so far."""
    at = 1
    while interrupted(do, at):
        yield at
        at += 1
