"""Waiting for a state of the world, with a limit and an answer to "what was it at the end?"."""

import time


def eventually(look, until, timeout, what):
    """Calls `look` until `until(value)` holds; returns that value, else fails with the last one seen."""
    deadline = time.monotonic() + timeout
    while True:
        value = look()
        if until(value):
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {timeout} s; last seen: {value!r}")
        time.sleep(0.02)
