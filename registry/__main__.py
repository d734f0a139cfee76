"""`python -m registry` is the `actor-registry` command."""

import sys

from registry.cli.__main__ import main

sys.exit(main())
