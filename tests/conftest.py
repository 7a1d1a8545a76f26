"""Settings of hypothesis for all tests: no time limit per example, since the machine may be busy."""

from hypothesis import settings

settings.register_profile("throughline", deadline=None)
settings.load_profile("throughline")
