"""The scenarios of the fault suite: one module a theme, found by `tests/faults/registry.py`."""
