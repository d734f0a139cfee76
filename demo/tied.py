"""`python -m demo.tied COMMAND...` becomes COMMAND, which gets SIGTERM when its parent dies.

The demo stops what it started, unless it is killed with SIGKILL; then the kernel does it.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask the kernel for the signal, then turn into the command."""
    parent = os.getppid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    # A parent that died before the request sends nothing any more; its orphan has a new parent then.
    if os.getppid() != parent:
        sys.exit("the parent is gone")
    command = sys.argv[1:]
    os.execv(command[0], command)  # noqa: S606 (there is no shell in between, on purpose)


if __name__ == "__main__":
    main()
