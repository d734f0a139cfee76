"""What is logged of findings: only what is new, not each probe."""

from __future__ import annotations

import logging
from collections import OrderedDict

from registry.health.findings import Finding, readable
from registry.kinds import BackendStatus, Target
from registry.state.probe_records import ProbeOrder

logger = logging.getLogger(__name__)

MAX_KNOWN = 20_000
"""Targets of which it is known what was logged last."""


class News:
    """Logs the first finding of each target, and each that is another than the one before.

    Args:
        most: How many targets are remembered.
    """

    def __init__(self, most: int = MAX_KNOWN) -> None:
        self._most = most
        self._logged: OrderedDict[tuple[Target, str], BackendStatus] = OrderedDict()

    def tell(self, order: ProbeOrder, finding: Finding) -> None:
        """Log a finding if it is news; what follows from it is decided elsewhere."""
        target = (order.target, order.name)
        before = self._logged.pop(target, None)
        self._logged[target] = finding.status
        if len(self._logged) > self._most:
            self._logged.popitem(last=False)
        if finding.status is before:
            return
        if finding.status is BackendStatus.HEALTHY:
            models = readable(", ".join(model.id for model in finding.models or ()))
            logger.info("%s %s is healthy%s", order.target, readable(order.name), f": {models}" if models else "")
        else:
            status = finding.status.replace("_", " ")
            place = readable(order.url)
            logger.warning("%s %s (%s) is %s: %s", order.target, readable(order.name), place, status, finding.error)
