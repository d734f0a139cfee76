"""Those who list and then watch."""

import os
import signal
import threading

from registry import BackendStatus, Registry, Restart, Supervisor
from tests.hazards.workers import change_backends
from tests.polling import until

CHANGES = 100


def copied(registry: Registry) -> dict[str, BackendStatus]:
    """The backends as they are at this moment; `registry.revision` is then that of the list."""
    return {view.id: view.status for view in registry.get_all_backends(fresh=True)}


def test_hazard_12_list_and_watch() -> None:
    """Who lists and watches from the list's revision sees each later change once, though the owner is killed."""
    with Supervisor() as supervisor:
        workers = [
            supervisor.spawn_with(Restart.TRANSIENT, f"changer-{number}", change_backends, number, CHANGES)
            for number in range(2)
        ]
        watching = Registry(supervisor._handle.attach())
        until(lambda: len(copied(watching)) > 1, "both change something")
        copy = copied(watching)
        since = watching.revision
        changes = watching.watch(since)

        def kill() -> None:
            owner = supervisor.processes()[0].pid
            assert owner is not None
            os.kill(owner, signal.SIGKILL)

        killer = threading.Timer(0.05, kill)
        killer.start()
        while not {"last-0", "last-1"} <= copy.keys():
            change = next(changes)
            assert change.revision == since + 1
            since = change.revision
            for row in change.rows:
                assert (row.before or {}).get("status") == copy.get(row.key)
                if row.after is None:
                    del copy[row.key]
                else:
                    copy[row.key] = BackendStatus(row.after["status"])
        killer.join()
        assert all(worker.join(20) is not None for worker in workers)
        assert copy == copied(watching)
        watching.close()
