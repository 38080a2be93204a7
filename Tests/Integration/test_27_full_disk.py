"""Goal: a state folder without room stops nobody: what is new is served, the relay says that it is not being saved, saves it
by itself once there is room, and a crash before that begins with the last version that was saved, whole.

Method: a real relay whose state folder is a tmpfs of a few MiB, filled to the last byte; kill -9.
"""

import errno
import pathlib
import subprocess

import pytest
from harness.relay import Relay, run
from harness.tiers import edge_policy
from harness.trust import TrustDomain
from harness.waiting import eventually
from test_22_gates import many, order, published, seen, versions, write


@pytest.fixture
def relay(folder):
    disk = folder / "small"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True, text=True)
    if mounted.returncode != 0:
        reason = f"this host does not let the tests mount a tmpfs: {mounted.stderr.strip()}"
        print(f"skipped: {reason}")
        pytest.skip(reason)
    try:
        manifests = folder / "manifests"
        manifests.mkdir()
        write(manifests, sorted(many(30)))
        relay = Relay(
            folder, "origin", TrustDomain(folder / "trust"), origin="mesh-test", policy=edge_policy(),
            sources=[{"name": "files", "directory": {"path": str(manifests)}}], state=str(disk / "state"),
            audit={"path": str(folder / "audit.jsonl")})
        relay.manifests, relay.disk = manifests, disk
        yield relay.start()
    finally:
        Relay.stop_all(below=folder)
        subprocess.run(["umount", "--lazy", str(disk)])


def fill(disk):
    """Takes all the room there is."""
    ballast = disk / "ballast"
    with open(ballast, "ab", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError as full:
                assert full.errno == errno.ENOSPC
    return ballast


def saved(relay, state):
    eventually(lambda: relay.status["store"]["state"], lambda found: found == state, 30, f"the state is {state}")


def test_a_full_disk_stops_nobody_and_is_saved_to_again(relay):
    eventually(lambda: len(versions(relay)["versions"]), lambda count: count == 1, 10, "the first version is saved")
    assert relay.status["store"] == {"state": "saving", "error": None}
    assert relay.metric("meshrelay_state_ok") == 1
    ballast = fill(relay.disk)
    write(relay.manifests, sorted(many(34)), host="new.example.org")
    published(relay, 34)
    assert seen(relay) == many(34), "serving goes on"
    saved(relay, "failing")
    assert relay.get("/readyz")[0] == 200
    status = relay.status["store"]
    assert "no room left" in status["error"] and "tried again by itself" in status["error"]
    assert "NOT SAVED" in order(relay, "status") and relay.metric("meshrelay_state_ok") == 0
    assert "not saved, a restart forgets it" in order(relay, "freeze", "shop")
    assert "the state is not being saved; serving goes on" in relay.log

    # A crash now goes back to what was saved, and that is whole.
    relay.kill()
    (relay.manifests / "many.yaml").rename(relay.folder / "away.yaml")
    relay.start()
    assert seen(relay) == many(30), "the last version that was saved"
    (relay.folder / "away.yaml").rename(relay.manifests / "many.yaml")
    published(relay, 34)
    saved(relay, "failing")

    # Nothing else happens but that there is room again.
    ballast.unlink()
    saved(relay, "saving")
    assert relay.metric("meshrelay_state_ok") == 1
    assert [version["resources"] for version in versions(relay)["versions"]] == [34, 30]
    relay.kill()
    (relay.manifests / "many.yaml").unlink()
    relay.start()
    assert seen(relay) == many(34)
    files = [str(path) for path in pathlib.Path(relay.folder).parent.glob("audit.jsonl*")]
    assert "set aside" not in relay.log
    result = run("audit", "verify", *files)
    assert result.returncode == 0, result.stdout + result.stderr
