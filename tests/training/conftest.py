"""The fixtures of these tests; tests/campaigns has them too."""

from training_places import make_run, place, prepared, processes, uninterrupted  # noqa: F401
