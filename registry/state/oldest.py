"""Names in order of an instant, so that those whose time has come are found without a look at the others."""

from __future__ import annotations

import math
from collections import OrderedDict


class Oldest:
    """Names by instant. To set one to the latest instant of all, as usual, costs the same however many there are.

    Attributes:
        instants: By name; in their order unless some were set to earlier ones.
    """

    def __init__(self) -> None:
        self.instants: OrderedDict[str, float] = OrderedDict()
        self._latest = -math.inf
        self._in_order = True

    def put(self, name: str, instant: float) -> None:
        """Set the instant of a name."""
        self.instants[name] = instant
        self.instants.move_to_end(name)
        if instant < self._latest:
            self._in_order = False
        else:
            self._latest = instant

    def discard(self, name: str) -> None:
        """Forget a name."""
        self.instants.pop(name, None)

    def until(self, instant: float, most: int) -> list[str]:
        """The names whose instants are not later than this one, the earliest first, and at most so many."""
        if not self._in_order:
            self._arrange()
        found: list[str] = []
        for name, at in self.instants.items():
            if at > instant or len(found) == most:
                break
            found.append(name)
        return found

    def _arrange(self) -> None:
        self.instants = OrderedDict(sorted(self.instants.items(), key=lambda item: item[1]))
        self._latest = next(reversed(self.instants.values()), -math.inf)
        self._in_order = True
