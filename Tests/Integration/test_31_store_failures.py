"""Goal: whatever is wrong with the state folder, a relay says what, and what to do; it never serves emptiness for it, and it
serves as soon as its sources have answered.

Method: a real edge whose upstream is gone, started over a store that was damaged, is of a later release, cannot be
written, is in use or is no folder; a client that must hear nothing or everything.
"""

import contextlib
import shutil
import sqlite3
import subprocess

import pytest
from harness.ads import Delta
from harness.relay import Relay
from harness.tiers import edge_policy, relays_only
from harness.trust import TrustDomain
from harness.waiting import eventually
from test_03_changes import TYPE_URL
from test_22_gates import many, seen, versions, write

NAMES = {f"shop/{name}" for name in many(5)}


class Place:
    """An origin, and an edge that keeps its state."""

    def __init__(self, folder):
        self.folder = folder
        self.trust = TrustDomain(folder / "trust")
        self.manifests = folder / "manifests"
        self.manifests.mkdir()
        write(self.manifests, sorted(many(5)))
        self.origin = Relay(
            folder, "origin", self.trust, origin="mesh-test", policy=relays_only("edge"),
            sources=[{"name": "files", "directory": {"path": str(self.manifests)}}], state=str(folder / "truth"))
        self.state = folder / "state"
        self.edge = Relay(
            folder, "edge", self.trust, sources=[self.origin.as_upstream(protocol="delta")], policy=edge_policy(),
            state=str(self.state))

    @property
    def file(self):
        return self.state / "snapshot.db"

    def client(self):
        return Delta(self.edge.address, self.trust.issue("cluster/all/istiod"), self.trust.bundle)

    def fill(self):
        """Both run until the edge has saved what it serves; then both are gone."""
        self.origin.start()
        self.edge.start()
        eventually(lambda: self.file.stat().st_size if self.file.exists() else 0, lambda size: size > 8192, 10, "a store")
        assert self.edge.terminate() == 0
        self.origin.kill()

    def says(self, *texts):
        for text in texts:
            eventually(lambda: self.edge.log, lambda log: text in log, 10, f"the journal says {text!r}")

    def hears_nothing_and_then_everything(self):
        """What cannot be read is not empty: silence until the source has answered."""
        with self.client() as client:
            client.subscribe(TYPE_URL)
            client.expect_silence(1)
            status, body = self.edge.get("/readyz")
            assert status == 503 and "waiting for the first complete state" in body
            self.origin.start()
            client.wait_for(TYPE_URL)
            assert set(client.state(TYPE_URL)) == NAMES
        self.edge.wait_ready()

    def is_saved(self):
        eventually(lambda: self.edge.status["store"]["state"], lambda state: state == "saving", 20, "it is being saved")
        eventually(
            lambda: [version["resources"] for version in versions(self.edge)["versions"]], lambda found: found == [5], 10,
            "it is on disk")
        self.origin.kill()
        self.edge.kill()
        self.edge.start()
        assert {f"shop/{name}" for name in seen(self.edge)} == NAMES, "and is there after a crash"


@pytest.fixture
def place(folder):
    place = Place(folder)
    place.fill()
    return place


def set_aside(place):
    """Stores that are out of the way, without what SQLite keeps beside them."""
    return [path for path in place.state.glob("snapshot.db.aside-*") if not path.name.endswith(("-wal", "-shm"))]


def damage(place):
    with open(place.file, "r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096)


def cut_short(place):
    with open(place.file, "r+b") as file:
        file.truncate(place.file.stat().st_size // 2)


def not_ours(place):
    place.file.write_bytes(b"something else entirely\n" * 1000)


@pytest.mark.parametrize("harm", [damage, cut_short, not_ours])
def test_a_damaged_store_is_set_aside(place, harm):
    harm(place)
    place.edge.start(ready=False)
    place.says("is damaged (", "was set aside as ", "clients keep what they hold until the sources have delivered. Check the disk")
    place.hears_nothing_and_then_everything()
    assert len(set_aside(place)) == 1
    place.is_saved()


def test_a_store_of_a_later_release_is_kept_for_it(place):
    with contextlib.closing(sqlite3.connect(place.file, isolation_level=None)) as database:
        number = database.execute("PRAGMA user_version").fetchone()[0]
        database.execute(f"PRAGMA user_version = {number + 1}")
    written = place.file.read_bytes()
    place.edge.start(ready=False)
    place.says(
        f"has format {number + 1}, newer than this release, and was set aside as ",
        "To use it again, install that release, stop meshrelay and rename the file back")
    place.hears_nothing_and_then_everything()
    aside, = set_aside(place)
    assert aside.read_bytes() == written, "not a byte of it is touched"
    place.is_saved()


@pytest.fixture
def read_only(place):
    """The state folder on a file system that takes no writes."""
    content = {path.name: path.read_bytes() for path in place.state.iterdir()}
    mount = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(place.state)], capture_output=True, text=True)
    if mount.returncode != 0:
        reason = f"this host does not let the tests mount a tmpfs: {mount.stderr.strip()}"
        print(f"skipped: {reason}")
        pytest.skip(reason)
    for name, written in content.items():
        (place.state / name).write_bytes(written)
    subprocess.run(["mount", "-o", "remount,ro", str(place.state)], check=True)
    yield place
    Relay.stop_all(below=place.folder)
    subprocess.run(["umount", "--lazy", str(place.state)])


def test_a_disk_that_takes_no_writes_is_served_from(read_only):
    place = read_only
    place.edge.start()
    with place.client() as client:
        client.subscribe(TYPE_URL)
        client.wait_for(TYPE_URL)
        assert set(client.state(TYPE_URL)) == NAMES
        write(place.manifests, sorted(many(6)))
        place.origin.start()
        client.wait_for_state(TYPE_URL, NAMES | {"shop/vs-5"})
    place.says("is on a file system that takes no writes", "Check the disk (dmesg) and mount it writable")
    store = place.edge.status["store"]
    assert store["state"] == "failing" and "takes no writes" in store["error"]
    assert place.edge.metric("meshrelay_state_ok") == 0 and place.edge.get("/readyz")[0] == 200
    subprocess.run(["mount", "-o", "remount,rw", str(place.state)], check=True)
    eventually(lambda: place.edge.status["store"]["state"], lambda state: state == "saving", 30, "it is saved to again")


def test_a_store_that_somebody_else_has_open_is_left_alone(place):
    holder = sqlite3.connect(place.file)
    holder.execute("BEGIN EXCLUSIVE")
    place.edge.start(ready=False)
    place.says("Another process has ", "give each a `state` folder of its own")
    place.hears_nothing_and_then_everything()
    assert not list(place.state.glob("snapshot.db.aside-*"))
    holder.rollback()
    holder.close()
    place.is_saved()


def test_a_state_folder_that_is_a_file_is_named(place):
    shutil.rmtree(place.state)
    place.state.write_text("")
    place.edge.start(ready=False)
    place.says("cannot be used (", "Let `state` name a folder that the user of meshrelay may write")
    place.hears_nothing_and_then_everything()
    assert place.edge.status["store"]["state"] == "failing"
