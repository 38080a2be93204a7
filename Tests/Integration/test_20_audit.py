"""Goal: everything a client acknowledged is on record, whatever happens to the relay; the log verifies, or `audit
verify` says where it was changed; a disk that is full holds deliveries and ends what must end.

Method: real relays with `audit:`, grpcio clients, kill -9 in the middle of deliveries, a small tmpfs, and a reader of
the log that is not ours (json and hashlib).
"""

import collections
import errno
import hashlib
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import threading
import time

import pytest
from harness.ads import Delta, StateOfTheWorld
from harness.relay import Relay, run
from harness.tiers import edge_policy
from harness.trust import TrustDomain
from harness.waiting import eventually
from test_03_changes import TYPE_URL, virtual_service

ZEROS = "0" * 64


class AuditedRelay(Relay):
    """An origin that keeps an audit log."""

    def __init__(self, folder, *, log_folder=None, policy=None, **audit):
        folder = pathlib.Path(folder)
        self.manifests = folder / "manifests"
        self.manifests.mkdir()
        (self.manifests / "first.yaml").write_text(virtual_service("first"))
        self.log_folder = log_folder or folder / "log"
        trust = TrustDomain(folder / "trust")
        super().__init__(
            folder, "audited", trust, sources=[{"name": "files", "directory": {"path": str(self.manifests)}}],
            policy=policy or edge_policy(), publish={"quiet": "5ms", "max": "20ms"},
            # Half of everything is removed at once here, on purpose.
            brake={"removes": "100%"},
            audit={"path": str(self.audit_path), **audit})

    @property
    def audit_path(self):
        return self.log_folder / "audit.jsonl"

    @property
    def audit_files(self):
        """Closed files first, the one that is written last."""
        closed = sorted(path for path in self.log_folder.glob("audit.jsonl.0*"))
        return closed + [self.audit_path]

    def records(self):
        """Every whole line, its chain checked by hand."""
        records, previous, number = [], ZEROS, 0
        for path in self.audit_files:
            for line in path.read_bytes().split(b"\n")[:-1]:
                record = json.loads(line)
                number += 1
                assert record["prev"] == previous, f"{path}: {line[:200]}"
                assert record["seq"] == number
                previous = hashlib.sha256(line).hexdigest()
                records.append(record)
        return records

    def client(self, cluster="all", kind=Delta):
        return kind(self.address, self.trust.issue(f"cluster/{cluster}/istiod"), self.trust.bundle)

    def verify(self, *arguments):
        return run("audit", "verify", *arguments, *self.audit_files)


@pytest.fixture
def relay(folder):
    return AuditedRelay(folder).start()


def events(records):
    return [record["event"] for record in records]


def assert_deliveries_are_explained(records):
    """What a delivery refers to stands before it, or the log says that it does not have it."""
    published, gaps, explained = set(), [], 0
    for record in records:
        if record["event"] == "publish" and "omitted" in record:
            first, last = map(int, re.search(r"from sequence (\d+) to (\d+)", record["reason"]).groups())
            gaps.append(range(first, last + 1))
        elif record["event"] == "publish":
            published.add(record["version"])
        elif record["event"] == "deliver" and record["type"] == TYPE_URL:
            version = record.get("view", record["version"])
            assert version in published or any(record["sequence"] in gap for gap in gaps), record
            explained += 1
    assert explained > 0


def of_client(records, cluster):
    return [record for record in records if record.get("spiffeID", "").endswith(f"/cluster/{cluster}/istiod")]


def test_a_whole_story_is_on_record(relay):
    with relay.client("shop") as client, relay.client("all", StateOfTheWorld) as whole:
        client.subscribe(TYPE_URL)
        whole.subscribe(TYPE_URL)
        eventually(lambda: len(whole.of_type(TYPE_URL)), lambda count: count >= 1, 10, "an answer")
        (relay.manifests / "second.yaml").write_text(virtual_service("second"))
        eventually(lambda: relay.metric("meshrelay_acks_total"), lambda acks: acks >= 3, 10, "acknowledgements")
    stranger = relay.client("nobody-knows")
    stranger.subscribe(TYPE_URL)
    eventually(lambda: stranger.end_state, lambda state: state is not None, 10, "the refusal")
    stranger.close()
    run("dump", "--admin", f"unix://{relay.admin_path}", "--as", relay.svid.uri)
    relay.write_policy("nonsense: [")
    relay.reload()
    eventually(lambda: relay.status["policy"]["state"], lambda state: state == "refused", 10, "a refused policy")
    assert relay.terminate() == 0
    records = relay.records()
    kinds = events(records)
    assert kinds[0] == "start" and kinds[-2:] == ["stop", "checkpoint"]
    for event in ("policy", "source", "publish", "connect", "subscribe", "deliver", "ack", "refuse", "admin", "config"):
        assert event in kinds, event
    story = events(of_client(records, "all"))
    assert story[:4] == ["connect", "subscribe", "deliver", "ack"] and story[-1] == "disconnect"
    published = {record["version"]: record for record in records if record["event"] == "publish"}
    for record in of_client(records, "all"):
        if record["event"] == "deliver":
            assert published[record["version"]]["type"] == "networking.istio.io/VirtualService"
            assert "all" in published[record["version"]]["clusters"]
    added = [name for record in published.values() for name in record.get("added", [])]
    assert {name.partition("/")[2] for name in added} == {"first", "second"}
    assert all(record["addedCount"] == len(record["added"]) for record in published.values() if "added" in record)
    refused = [record for record in records if record["event"] == "refuse"]
    assert any(record.get("spiffeID", "").endswith("/nobody-knows/istiod") for record in refused)
    assert any(record["event"] == "policy" and "refused" in record["reason"] for record in records)
    # Nothing but names: no body, no key.
    text = relay.audit_path.read_text()
    assert "PRIVATE" not in text and "hosts" not in text
    result = relay.verify("--bundle", f"{relay.trust.name}={relay.trust.bundle}")
    assert result.returncode == 0, result.stdout
    assert "sound" in result.stdout and "who was trusted" in result.stdout


class Writer(threading.Thread):
    """Changes manifests without a pause until it is told to stop."""

    def __init__(self, folder):
        super().__init__(daemon=True)
        self.folder = folder
        self.written = 0
        self.stopping = threading.Event()

    def run(self):
        while not self.stopping.wait(0.004):
            self.written += 1
            name = f"vs-{self.written % 40}"
            (self.folder / f"{name}.yaml").write_text(virtual_service(name, f"h{self.written}.example.org"))


def test_kill_9_loses_nothing_that_was_acknowledged(folder):
    """A dozen clients with identities of their own, in all dialects of ADS, changes without a pause; then SIGKILL."""
    seed = random.randrange(1 << 32)
    print("seed", seed)
    moment = random.Random(seed)
    tenants = [f"t{index}" for index in range(12)]
    policy = {"clusters": [
        {"name": name, "identities": [f"spiffe://example.org/cluster/{name}/*"], "allow": [{}]} for name in tenants]}
    relay = AuditedRelay(folder, policy=policy, maxBytes="1MiB").start()
    acknowledged = collections.Counter()
    writer = Writer(relay.manifests)
    writer.start()
    lives = 6
    for _ in range(lives):
        clients = {
            name: relay.client(name, (Delta, StateOfTheWorld)[index % 2]) for index, name in enumerate(tenants)}
        for client in clients.values():
            client.subscribe(TYPE_URL)
        time.sleep(moment.uniform(0.5, 1.5))
        relay.kill()
        for name, client in clients.items():
            for response in client.of_type(TYPE_URL):
                version = getattr(response, "version_info", "") or getattr(response, "system_version_info", "")
                acknowledged[f"spiffe://example.org/cluster/{name}/istiod", version] += 1
            client.close()
        relay.start()
    writer.stopping.set()
    assert relay.terminate() == 0
    total = acknowledged.total()
    print(f"{total} responses acknowledged, {writer.written} changes, {lives} kills")
    assert total > 20 * lives, "nothing much was delivered"
    records = relay.records()
    delivered = collections.Counter(
        (record["spiffeID"], record["version"]) for record in records if record["event"] == "deliver")
    # Each of them, as often as it came.
    assert not acknowledged - delivered
    assert_deliveries_are_explained(records)
    assert events(records).count("start") == lives + 1
    assert not any("lost" in record for record in records)
    result = relay.verify()
    assert result.returncode == 0, result.stdout


def test_who_is_refused_again_and_again_is_counted(relay):
    strangers = [relay.client("nobody-knows", StateOfTheWorld) for _ in range(8)]
    for stranger in strangers:
        stranger.subscribe(TYPE_URL)
    with relay.client("blocked-by-nobody", StateOfTheWorld) as other:
        other.subscribe(TYPE_URL)
        for client in [*strangers, other]:
            eventually(lambda: client.end_state, lambda state: state is not None, 10, "the refusal")
            client.close()
    assert relay.metric("meshrelay_refused_total", reason="no_cluster") == 9
    assert relay.terminate() == 0

    def refused(name):
        return [record for record in of_client(relay.records(), name) if record["event"] == "refuse"]

    told = refused("nobody-knows")
    # Three are told, the rest is a number in a fourth; another identity is told for itself.
    assert [record.get("omitted") for record in told] == [None, None, None, 5]
    assert [record.get("omitted") for record in refused("blocked-by-nobody")] == [None]


def test_verify_names_the_first_bad_line(relay, folder):
    with relay.client() as client:
        client.subscribe(TYPE_URL)
        eventually(lambda: relay.metric("meshrelay_acks_total"), lambda acks: acks >= 1, 10, "an acknowledgement")
    assert relay.terminate() == 0
    head = relay.verify().stdout.split("head ")[1].strip()
    lines = relay.audit_path.read_bytes().splitlines(keepends=True)
    copy = folder / "copy.jsonl"

    def verify(changed, *arguments):
        copy.write_bytes(b"".join(changed))
        return run("audit", "verify", copy, *arguments, "--json")

    sound = json.loads(verify(lines, "--head", head).stdout)
    assert sound["sound"] and sound["records"] == len(lines) and sound["head"] == head
    place = next(index for index, line in enumerate(lines) if b'"deliver"' in line)
    for name, changed, line in [
        ("edited", lines[:place] + [lines[place].replace(b"all", b"ill", 1)] + lines[place + 1:], place + 2),
        ("dropped", lines[:place] + lines[place + 1:], place + 1),
        ("doubled", lines[:place] + [lines[place]] + lines[place:], place + 2),
        ("swapped", lines[:place] + [lines[place + 1], lines[place]] + lines[place + 2:], place + 1),
        ("torn", lines[:-1] + [lines[-1][:-7]], len(lines)),
    ]:
        result = verify(changed)
        verdict = json.loads(result.stdout)
        assert result.returncode == 1 and not verdict["sound"], name
        assert verdict["problem"]["line"] == line and verdict["problem"]["file"] == str(copy), (name, verdict)
    # A cut end is a sound beginning; only a head that was noted elsewhere tells.
    assert verify(lines[:-2]).returncode == 0
    assert verify(lines[:-2], "--head", head).returncode == 1


def test_tail_follows_through_rotations(folder):
    relay = AuditedRelay(folder, maxBytes="1MiB").start()
    with open(folder / "tail", "wb") as output:
        tail = subprocess.Popen(
            [*run_command(), "audit", "tail", "--lines", "100000", str(relay.audit_path)], stdout=output)
    try:
        with relay.client() as client:
            client.subscribe(TYPE_URL)
            # As many publications as it takes: a busy host joins changes.
            for round_ in range(1000):
                (relay.manifests / "many.yaml").write_text("---\n".join(
                    virtual_service(f"a-rather-long-name-{round_}-{index}-{'x' * 60}") for index in range(100)))
                if len(relay.audit_files) > 2:
                    break
                time.sleep(0.03)
        assert len(relay.audit_files) > 1, "the log was never rotated"
        assert relay.terminate() == 0
        total = len(relay.records())
        time.sleep(1)
    finally:
        tail.terminate()
        tail.wait()
    lines = (folder / "tail").read_bytes().splitlines()
    assert [json.loads(line)["seq"] for line in lines] == list(range(1, total + 1))
    assert relay.verify().returncode == 0


def run_command():
    from harness.relay import PROGRAM
    return [PROGRAM]


def test_a_second_relay_on_one_log_is_refused(relay):
    second = subprocess.run(
        [*run_command(), "serve", "--config", str(relay.configuration_path)], capture_output=True, text=True, timeout=20)
    assert second.returncode == 78
    assert "in use by another process" in second.stderr and str(relay.audit_path) in second.stderr


def mounted(folder, size):
    folder.mkdir(exist_ok=True)
    return subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]).returncode == 0


@pytest.fixture
def small_disk(folder):
    disk = folder / "disk"
    if not mounted(disk, "256k"):
        pytest.skip("this host does not let the tests mount a tmpfs")
    yield disk
    Relay.stop_all(below=folder)
    subprocess.run(["umount", str(disk)], check=True)


def fill(disk):
    filler = os.open(disk / "filler", os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.write(filler, b"x" * 4096)
    except OSError as full:
        assert full.errno == errno.ENOSPC
    finally:
        os.close(filler)


def test_a_full_disk_holds_deliveries_and_ends_what_must_end(folder, small_disk):
    relay = AuditedRelay(folder, log_folder=small_disk).start()
    with relay.client("all") as whole, relay.client("shop") as narrowed:
        whole.subscribe(TYPE_URL)
        narrowed.subscribe(TYPE_URL)
        eventually(lambda: relay.metric("meshrelay_acks_total"), lambda acks: acks >= 2, 10, "both are served")
        fill(small_disk)

        def change_until_failing():
            (relay.manifests / "more.yaml").write_text("---\n".join(
                virtual_service(f"more-{time.monotonic_ns()}-{index}") for index in range(50)))
            return relay.metric("meshrelay_audit_ok")

        eventually(change_until_failing, lambda ok: ok == 0, 10, "the disk is full")
        status, body = relay.get("/readyz")
        assert status == 503 and "audit" in body
        assert relay.status["audit"]["state"] == "failing" and "room" in relay.status["audit"]["error"]
        time.sleep(0.3)
        held = len(whole.responses)
        (relay.manifests / "held.yaml").write_text(virtual_service("held"))
        time.sleep(1.5)
        assert len(whole.responses) == held and whole.end_state is None
        # Revocation does not wait for a disk.
        policy = edge_policy()
        policy["clusters"] = [entry for entry in policy["clusters"] if entry["name"] != "shop"]
        relay.write_policy(policy)
        relay.reload()
        eventually(lambda: narrowed.end_state, lambda state: state is not None, 3, "the end of a lost grant")
        (small_disk / "filler").unlink()
        eventually(lambda: relay.get("/readyz")[0], lambda code: code == 200, 5, "ready again by itself")
        eventually(
            lambda: whole.state(TYPE_URL).keys(), lambda names: any(name.endswith("/held") for name in names), 5,
            "what was held arrives")
    assert relay.terminate() == 0
    assert not any("lost" in record for record in relay.records())
    assert_deliveries_are_explained(relay.records())
    assert relay.verify().returncode == 0


def test_going_on_counts_the_loss(folder, small_disk):
    relay = AuditedRelay(folder, log_folder=small_disk, onFailure="continue").start()
    with relay.client("all") as client:
        client.subscribe(TYPE_URL)
        eventually(lambda: relay.metric("meshrelay_acks_total"), lambda acks: acks >= 1, 10, "it is served")
        fill(small_disk)
        number = iter(range(10_000))

        def change():
            (relay.manifests / "more.yaml").write_text("---\n".join(
                virtual_service(f"more-{next(number)}-{index}") for index in range(50)))
            return relay.metric("meshrelay_audit_lost_total")

        eventually(change, lambda lost: lost > 0, 10, "records are lost")
        assert relay.metric("meshrelay_audit_ok") == 0 and relay.get("/readyz")[0] == 200
        (relay.manifests / "going-on.yaml").write_text(virtual_service("going-on"))
        eventually(
            lambda: client.state(TYPE_URL).keys(), lambda names: any(name.endswith("/going-on") for name in names), 5,
            "deliveries go on")
        (small_disk / "filler").unlink()
        eventually(lambda: relay.metric("meshrelay_audit_ok"), lambda ok: ok == 1, 5, "written again")
        lost = relay.metric("meshrelay_audit_lost_total")
    assert relay.terminate() == 0
    records = relay.records()
    assert sum(record.get("lost", 0) for record in records) == lost > 0
    assert any(record["event"] == "publish" and "omitted" in record for record in records)
    assert_deliveries_are_explained(records)
    assert relay.verify().returncode == 0


def test_a_reload_decides_what_a_full_disk_holds_up(folder, small_disk):
    relay = AuditedRelay(folder, log_folder=small_disk).start()
    with relay.client("all") as client:
        client.subscribe(TYPE_URL)
        eventually(lambda: relay.metric("meshrelay_acks_total"), lambda acks: acks >= 1, 10, "it is served")
        fill(small_disk)

        def change():
            (relay.manifests / "more.yaml").write_text("---\n".join(
                virtual_service(f"more-{time.monotonic_ns()}-{index}") for index in range(50)))
            return relay.metric("meshrelay_audit_ok")

        eventually(change, lambda ok: ok == 0, 10, "the disk is full")
        (relay.manifests / "held.yaml").write_text(virtual_service("held"))
        time.sleep(0.5)
        assert not any(name.endswith("/held") for name in client.state(TYPE_URL))
        relay.configuration["audit"] |= {"onFailure": "continue", "keep": "2d"}
        relay.write_configuration()
        relay.reload()
        eventually(
            lambda: client.state(TYPE_URL).keys(), lambda names: any(name.endswith("/held") for name in names), 5,
            "deliveries go on")
        assert relay.get("/readyz")[0] == 200 and relay.status["config"]["error"] is None
        (small_disk / "filler").unlink()
        eventually(lambda: relay.metric("meshrelay_audit_ok"), lambda ok: ok == 1, 5, "written again")
        # Another place: the chain goes on there, for those who are connected, too.
        before = list(relay.audit_files)
        relay.log_folder = folder / "elsewhere"
        relay.configuration["audit"]["path"] = str(relay.audit_path)
        relay.write_configuration()
        relay.reload()
        eventually(relay.audit_path.exists, lambda exists: exists, 5, "the log in its new place")
        (relay.manifests / "after.yaml").write_text(virtual_service("after"))
        eventually(
            lambda: client.state(TYPE_URL).keys(), lambda names: any(name.endswith("/after") for name in names), 5,
            "deliveries go on")
        assert relay.status["config"]["error"] is None
        eventually(
            lambda: [line for line in relay.log.splitlines() if "the old one stays until it is removed by hand" in line],
            lambda lines: any(str(small_disk / "audit.jsonl") in line for line in lines), 5, "what is left is named")
    assert relay.terminate() == 0
    for files in (relay.audit_files, before + relay.audit_files):
        result = run("audit", "verify", *files)
        assert result.returncode == 0, result.stdout
    assert f"the log goes on in {relay.audit_path}" in before[-1].read_text()
    assert '"deliver"' in relay.audit_path.read_text()


def test_a_torn_end_is_moved_away(relay):
    relay.kill()
    sound = relay.audit_path.read_bytes()
    relay.audit_path.write_bytes(sound + b'{"time":"2026-11')
    relay.start()
    torn = list(relay.log_folder.glob("audit.jsonl.torn-*"))
    assert [path.read_bytes() for path in torn] == [b'{"time":"2026-11']
    assert relay.terminate() == 0
    starts = [record for record in relay.records() if record["event"] == "start"]
    assert [record.get("torn") for record in starts] == [None, torn[0].name]
    assert "torn end" in relay.log


def test_the_head_is_in_status_and_journal(relay):
    head = eventually(lambda: relay.status["audit"], lambda audit: audit["head"], 10, "the first checkpoint")["head"]
    assert relay.status["audit"]["state"] == "writing"
    eventually(lambda: relay.log, lambda log: f"head={head}" in log, 5, "the head in the journal")
    assert relay.terminate() == 0
    assert relay.verify("--head", head).returncode == 0
    assert oct(os.stat(relay.audit_path).st_mode & 0o777) == "0o640"
    shutil.rmtree(relay.log_folder)
