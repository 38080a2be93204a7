"""Goal: what the audit log keeps is in the journal, too, with fields; with `audit.journal: all` every line of it, as a
chain that verifies, beside the log.

Method: a socket in the journal's place, seen by the relay alone (its own mount namespace), that takes apart what
sd_journal_sendv sends; a client that is not ours.
"""

import json
import os
import socket
import subprocess
import threading

import pytest
from harness.ads import Delta
from harness.waiting import eventually
from harness.relay import run
from test_03_changes import TYPE_URL, virtual_service
from test_20_audit import AuditedRelay, events


class Journal:
    """Receives entries; each is a dictionary of lists, because a field may stand several times."""

    def __init__(self, folder):
        self.root = folder / "run-systemd"
        (self.root / "journal").mkdir(parents=True)
        self.entries = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self.socket.bind(str(self.root / "journal" / "socket"))
        threading.Thread(target=self._receive, daemon=True).start()

    def _receive(self):
        while True:
            data, descriptors, _, _ = socket.recv_fds(self.socket, 1 << 20, 1)
            # An entry that does not fit a datagram comes as a file.
            for descriptor in descriptors:
                with open(descriptor, "rb") as file:
                    file.seek(0)
                    data = file.read()
            self.entries.append(self._parse(data))

    @staticmethod
    def _parse(data):
        entry, rest = {}, data
        while rest:
            line, _, rest = rest.partition(b"\n")
            name, equals, value = line.partition(b"=")
            if not equals:
                size = int.from_bytes(rest[:8], "little")
                value, rest = rest[8:8 + size], rest[8 + size + 1:]
            entry.setdefault(name.decode(), []).append(value.decode())
        return entry

    def of(self, event, identifier="meshrelay"):
        return [
            entry for entry in self.entries
            if entry.get("MESHRELAY_EVENT") == [event] and entry["SYSLOG_IDENTIFIER"] == [identifier]]


@pytest.fixture
def journal(folder):
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("this host does not let the tests make a mount namespace")
    return Journal(folder)


def into(journal, relay):
    """Lets the relay believe that systemd connected its standard error to the journal."""
    log = relay.folder / "log"
    log.touch()
    facts = os.stat(log)
    relay.prefix = (
        "unshare", "--mount", "env", f"JOURNAL_STREAM={facts.st_dev}:{facts.st_ino}", "sh", "-c",
        f'mount --bind "{journal.root}" /run/systemd && exec "$@"', "sh")
    return relay


def whole_story(relay):
    """A client that is served and acknowledges, a change, somebody who is refused, a policy that is wrong."""
    with relay.client("shop") as client:
        client.subscribe(TYPE_URL)
        eventually(lambda: relay.metric("meshrelay_acks_total"), lambda acks: acks >= 1, 10, "an acknowledgement")
        (relay.manifests / "second.yaml").write_text(virtual_service("second"))
        eventually(lambda: relay.metric("meshrelay_acks_total"), lambda acks: acks >= 2, 10, "another one")
    with relay.client("nobody-knows") as stranger:
        stranger.subscribe(TYPE_URL)
        eventually(lambda: stranger.end_state, lambda state: state is not None, 10, "the refusal")
    relay.write_policy("clusters: [{name: a}]\nclusters: []\nblockd: []\n")
    relay.reload()
    eventually(lambda: relay.status["policy"]["state"], lambda state: state == "refused", 10, "a refused policy")
    assert relay.terminate() == 0


def test_what_happens_is_in_the_journal_with_fields(folder, journal):
    relay = into(journal, AuditedRelay(folder)).start()
    whole_story(relay)
    for event in ("start", "connect", "disconnect", "refuse", "config", "policy", "source", "publish", "checkpoint",
                  "stop"):
        assert journal.of(event) or event == "config", event
    connect = journal.of("connect")[0]
    assert connect["MESHRELAY_SPIFFE_ID"] == ["spiffe://example.org/cluster/shop/istiod"]
    assert connect["MESHRELAY_CLUSTER"] == ["shop"] and connect["PRIORITY"] == ["6"]
    refused = next(entry for entry in journal.of("refuse") if "MESHRELAY_SPIFFE_ID" in entry)
    assert refused["MESHRELAY_SPIFFE_ID"] == ["spiffe://example.org/cluster/nobody-knows/istiod"]
    # Each problem of a file is a field of its own.
    policy = journal.of("policy")[-1]
    assert policy["PRIORITY"] == ["3"] and len(policy["MESHRELAY_PROBLEM"]) >= 3
    assert all("policy.yaml:" in problem for problem in policy["MESHRELAY_PROBLEM"])
    # Deliveries are too many, unless somebody asks for them.
    assert not [entry for entry in journal.entries if entry["SYSLOG_IDENTIFIER"] != ["meshrelay"]]
    assert not journal.of("deliver") and relay.log == ""


def test_every_line_of_the_log_is_in_the_journal_when_asked_for(folder, journal):
    relay = into(journal, AuditedRelay(folder, journal="all")).start()
    whole_story(relay)
    records = relay.records()
    mirrored = [entry for entry in journal.entries if entry["SYSLOG_IDENTIFIER"] == ["meshrelay-audit"]]
    assert {"subscribe", "deliver", "ack", "publish", "connect", "refuse"} <= set(events(records))
    assert [json.loads(entry["MESSAGE"][0]) for entry in mirrored] == records
    for entry, record in zip(mirrored, records):
        assert entry["MESHRELAY_SEQ"] == [str(record["seq"])] and entry["MESHRELAY_EVENT"] == [record["event"]]
        assert entry.get("MESHRELAY_SPIFFE_ID", [None]) == [record.get("spiffeID")]
        assert entry.get("MESHRELAY_VERSION", [None]) == [record.get("version")]
    # What `journalctl -t meshrelay-audit -o cat` prints is a log that proves itself.
    copy = folder / "from-the-journal.jsonl"
    copy.write_text("".join(entry["MESSAGE"][0] + "\n" for entry in mirrored))
    result = run("audit", "verify", "--bundle", f"{relay.trust.name}={relay.trust.bundle}", copy)
    assert result.returncode == 0, result.stdout
