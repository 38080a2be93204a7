"""Fixtures of the integration tests. Every relay started in a test is gone after it, however it ends."""

import pathlib
import shutil
import sys
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from harness.relay import Relay
from harness.tiers import build_tiers, start_all


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: waits on purpose for several seconds")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failure shows the end of every relay's log."""
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for relay in Relay.running():
            if (relay.folder / "log").exists():
                report.sections.append((f"log of {relay.name}", relay.log[-3000:]))


def _folder(prefix):
    # Not pytest's tmp_path: its names make Unix socket paths too long.
    return pathlib.Path(tempfile.mkdtemp(prefix=f"meshrelay-{prefix}-", dir="/tmp"))


@pytest.fixture
def folder():
    path = _folder("test")
    yield path
    Relay.stop_all(below=path)
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def tiers(folder):
    """Three fresh relays for a test that breaks or changes something."""
    return start_all(build_tiers(folder))


@pytest.fixture(scope="module")
def shared_tiers():
    """Three relays for the tests of one file that only look."""
    path = _folder("shared")
    try:
        yield start_all(build_tiers(path))
    finally:
        Relay.stop_all(below=path)
        shutil.rmtree(path, ignore_errors=True)
