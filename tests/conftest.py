"""Settings for all tests."""

import signal

from hypothesis import settings

# How long an example takes depends on what else the machine does; a slow one is no failure.
settings.register_profile("default without deadlines", deadline=None)
settings.load_profile("default without deadlines")

# A shell lets what a script starts in the background ignore Ctrl-C, and the programs that tests start would inherit it.
signal.signal(signal.SIGINT, signal.default_int_handler)
