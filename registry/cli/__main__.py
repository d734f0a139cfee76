"""The entry of the `actor-registry` command; must be readable by any Python 3, to say plainly when it is too old."""

import sys


def main() -> int:
    """Run the command line."""
    if sys.version_info < (3, 11):  # noqa: UP036 - pip checks this too, but not everybody starts it by pip
        version = "%d.%d" % sys.version_info[:2]  # noqa: UP031 - the only form that every Python 3 reads
        sys.exit("actor-registry: needs Python 3.11 or newer, this is Python " + version)
    try:
        from registry.cli.interrupts import end_on_interrupt  # noqa: PLC0415 - an old Python could not read it

        end_on_interrupt()
        from registry.cli.app import run  # noqa: PLC0415 - the same
    except KeyboardInterrupt:
        return 130
    except ModuleNotFoundError as error:
        # A plain install has the runtime and the registry only.
        sys.exit("actor-registry: " + str(error.name) + " is missing; install actor-registry[server]")
    try:
        return run()
    except KeyboardInterrupt:
        return 130
    finally:
        end_on_interrupt()  # what the command has put in its place would raise while Python itself ends


if __name__ == "__main__":
    sys.exit(main())
