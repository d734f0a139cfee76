"""Which backends may be given a request, and which of them gets the next one.

All of it is derived from the tables, and kept up to date at each change, so that a choice is one `min` over the
backends of its model, however many others there are.
"""

from __future__ import annotations

from collections.abc import Collection

from actors.tables import Table
from registry.kinds import BackendStatus
from registry.policies.least_pending import FULL, Rank, least_pending, rank
from registry.state.records import BackendRecord


class Choice:
    """Keeps what a choice needs.

    Args:
        records: The backends.
        counts: Requests in flight by backend; none for one that is not in it.

    Attributes:
        routable: Ids of the healthy backends of each model that has any.
        ranks: For each backend how it stands against others; the lowest is chosen.
        latest: Number of the latest lease of each backend, as far as this owner knows; only good to break ties.
        stirred: The models whose routable backends have changed since `moved` was asked.
        freed: The backends that had room again since then.
    """

    def __init__(self, records: Table[str, BackendRecord], counts: dict[str, int]) -> None:
        self._records = records
        self._counts = counts
        self.routable: dict[str, dict[str, None]] = {}
        self.ranks: dict[str, Rank] = {}
        self.latest: dict[str, int] = {}
        self.stirred: set[str] = set()
        self.freed: set[str] = set()

    # -- what has changed ------------------------------------------------------------------------------------

    def backend_changed(self, id: str, before: BackendRecord | None, after: BackendRecord | None) -> None:
        """A backend came, went or was changed."""
        if after is None:
            del self.ranks[id]
        else:
            self._rerank(after, self._counts.get(id, 0))
        if before is not None and after is not None and before.status is after.status and before.models is after.models:
            return
        old = _routes(before)
        new = _routes(after)
        for model in old.difference(new):
            routable = self.routable[model]
            del routable[id]
            if not routable:
                del self.routable[model]
            self.stirred.add(model)
        for model in new.difference(old):
            self.routable.setdefault(model, {})[id] = None
            self.stirred.add(model)

    def pending_changed(self, id: str, pending: int) -> None:
        """A backend, or one that was removed, has another number of requests in flight."""
        record = self._records.get(id)
        if record is not None:
            self._rerank(record, pending)

    def _rerank(self, record: BackendRecord, pending: int) -> None:
        id = record.id
        most = record.max_concurrency
        if most is not None and pending >= most:
            self.ranks[id] = FULL
            return
        if self.ranks.get(id) is FULL:
            self.freed.add(id)
        self.ranks[id] = rank(pending, record.weight, self.latest.get(id, 0))

    def forget(self, backend: str) -> None:
        """A backend was removed."""
        self.latest.pop(backend, None)

    def moved(self) -> tuple[set[str], set[str]]:
        """What is `stirred` and `freed`, once; what was changed and reverted may be among it."""
        moved = self.stirred, self.freed
        self.stirred, self.freed = set(), set()
        return moved

    # -- choosing --------------------------------------------------------------------------------------------

    def candidates(self, model: str, exclude: Collection[str] = ()) -> Collection[str]:
        """Ids of the backends that may be given requests for a model, busy or not."""
        routable = self.routable.get(model, ())
        if not exclude:
            return routable
        excluded = set(exclude)
        return [id for id in routable if id not in excluded]

    def best(self, candidates: Collection[str]) -> str | None:
        """The candidate that is to be given the next request; None if all of them have as many as they may have.

        Args:
            candidates: At least one.
        """
        chosen = least_pending(candidates, self.ranks)
        return None if self.ranks[chosen] is FULL else chosen


_NOWHERE: frozenset[str] = frozenset()


def _routes(record: BackendRecord | None) -> frozenset[str] | set[str]:
    """The models for which a backend may be given requests."""
    if record is None or record.status is not BackendStatus.HEALTHY:
        return _NOWHERE
    return {model.id for model in record.models}
