"""Settings for all tests."""

from hypothesis import settings

# How long an example takes depends on what else the machine does; a slow one is no failure.
settings.register_profile("default without deadlines", deadline=None)
settings.load_profile("default without deadlines")
