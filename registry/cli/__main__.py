"""The entry of the `actor-registry` command; must be readable by any Python 3, to say plainly when it is too old."""

import sys


def main() -> int:
    """Run the command line."""
    if sys.version_info < (3, 11):
        version = "%d.%d" % sys.version_info[:2]
        sys.exit("actor-registry: needs Python 3.11 or newer, this is Python " + version)
    from registry.cli.app import run

    return run()


if __name__ == "__main__":
    sys.exit(main())
