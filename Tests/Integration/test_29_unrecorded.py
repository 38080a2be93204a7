"""Goal: what an operator wants done is done and on record, or neither; and an import that is interrupted leaves nothing
behind, not even a closed door.

Method: a real relay whose audit log has no room, asked for everything that it must write down; the program's own
commands, stopped by signals in the middle of a file.
"""

import json
import signal
import subprocess
import time

import pytest
from harness import relay as harness
from harness.relay import Relay, free_port, run
from harness.tiers import edge_policy, relays_only
from harness.trust import TrustDomain
from harness.waiting import eventually
from test_20_audit import fill, small_disk  # noqa: F401 a fixture
from test_22_gates import gates, many, order, published, seen, versions, write


class Pair:
    """An origin, and a host that is to follow it and cannot reach it."""

    def __init__(self, folder, log):
        trust = TrustDomain(folder / "trust")
        self.manifests = folder / "manifests"
        self.manifests.mkdir()
        write(self.manifests, sorted(many(30)))
        self.origin = Relay(
            folder, "origin", trust, origin="mesh-test", policy={
                "clusters": relays_only("far")["clusters"] + edge_policy()["clusters"]},
            sources=[{"name": "files", "directory": {"path": str(self.manifests)}}])
        upstream = {"name": "central", "upstream": {
            "addresses": [f"127.0.0.1:{free_port()}"], "spiffeID": self.origin.svid.uri, "protocol": "delta"}}
        self.log = log
        self.far = Relay(
            folder, "far", trust, policy=edge_policy(), sources=[upstream], state=str(folder / "state"),
            audit={"path": str(log)})
        self.file = folder / "carried.snapshot"
        self.origin.start()
        order(self.origin, "snapshot", "export", self.file)
        self.far.start(ready=False)

    @property
    def records(self):
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    @property
    def events(self):
        return [record["event"] for record in self.records]


def test_what_cannot_be_put_on_record_is_not_done(folder, small_disk):  # noqa: F811
    pair = Pair(folder, small_disk / "audit.jsonl")
    far = pair.far
    order(far, "snapshot", "import", pair.file)
    old = versions(far)["versions"][0]["version"]
    order(far, "pin", "shop", old)
    fill(small_disk)
    # Whatever is looked at is recorded, too, and finds that there is no room.
    eventually(
        lambda: (far.get("/dump?as=spiffe://example.org/cluster/all/istiod"), far.status["audit"]["state"])[1],
        lambda state: state == "failing", 10, "the log is full")
    before = (gates(far), far.status["snapshot"])
    fresh = folder / "fresh.snapshot"
    for arguments in (
            ["rollback", old], ["pin", "all", old], ["unpin", "shop"], ["freeze"], ["thaw"], ["release", "all"],
            ["adopt", "central"], ["snapshot", "export", fresh], ["snapshot", "import", pair.file]):
        text = order(far, *arguments, code=1)
        assert "could not be put on record" in text and "No room" in text, f"{arguments}: {text}"
    assert (gates(far), far.status["snapshot"]) == before
    assert not fresh.exists()
    # Nothing is shown, either, and that is no answer: neither "not visible" nor "something changes".
    whom = ["--as", "spiffe://example.org/cluster/all/istiod"]
    looks = [["dump", *whom], ["explain", *whom, "networking.istio.io/Gateway", "shop/x"], ["diff", *whom], ["history"]]
    for arguments in looks:
        result = run(*arguments, "--admin", f"unix://{far.admin_path}")
        assert (result.returncode, result.stdout) == (69, ""), f"{arguments}: {result}"
        assert "Nothing is shown, for it could not be put on record" in result.stderr and "No room" in result.stderr
    # Who says that the loss is to be counted is shown things.
    far.configuration["audit"]["onFailure"] = "continue"
    far.write_configuration()
    far.reload()
    eventually(lambda: far.get("/readyz")[0], lambda code: code == 200, 10, "it goes on")
    assert seen(far) == set(many(30))
    far.configuration["audit"]["onFailure"] = "stop"
    far.write_configuration()
    far.reload()
    eventually(lambda: far.get("/readyz")[0], lambda code: code == 503, 10, "it stops")
    # A grant that ends asks for no room.
    policy = edge_policy()
    policy["clusters"] = [entry for entry in policy["clusters"] if entry["name"] != "all"]
    far.write_policy(policy)
    ruled = far.status["policy"]["hash"]
    far.reload()
    eventually(lambda: far.status["policy"]["hash"], lambda value: value != ruled, 10, "the policy is in force")
    (small_disk / "filler").unlink()
    eventually(lambda: far.get("/readyz")[0], lambda code: code == 200, 10, "there is room again")
    order(far, "unpin", "shop")
    order(far, "dump", *whom, code=64)
    order(far, "snapshot", "export", fresh)
    events = pair.events
    assert events.count("pin") == 1 and events.count("unpin") == 1 and "rollback" not in events
    assert events.count("import") == 1 and events.count("export") == 1
    shown = [record["reason"] for record in pair.records if record["event"] == "admin"]
    assert shown.count("history") == 1 and not [reason for reason in shown if reason.startswith(("explain", "diff"))]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_import_leaves_the_way_free(folder, number):
    pair = Pair(folder, folder / "audit.jsonl")
    # So large that it takes a while: nothing but its beginning is a snapshot.
    large = folder / "large.snapshot"
    write(pair.manifests, sorted(many(3000)))
    published(pair.origin, 3000)
    order(pair.origin, "snapshot", "export", large)
    command = [harness.PROGRAM, "snapshot", "import", str(large), "--admin", f"unix://{pair.far.admin_path}"]
    for pause in (0.0, 0.05, 0.1, 0.2):
        # Shells ignore SIGINT for what runs in the background, these tests perhaps, and what they start inherits it.
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=lambda: signal.signal(number, signal.SIG_DFL))
        time.sleep(pause)
        process.send_signal(number)
        _, said = process.communicate(timeout=20)
        assert process.returncode in (-number, 0), f"{process.returncode}: {said}"
        if "nothing was taken over" in said:
            break
    # At once, whenever it was interrupted.
    eventually(
        lambda: run("snapshot", "import", str(pair.file), "--dry-run", "--admin", f"unix://{pair.far.admin_path}"),
        lambda result: "under way" not in result.stderr, 5, "the next import is taken")


def test_an_import_that_is_to_ignore_an_interrupt_goes_on(folder):
    pair = Pair(folder, folder / "audit.jsonl")
    process = subprocess.Popen(
        [harness.PROGRAM, "snapshot", "import", str(pair.file), "--dry-run", "--admin",
         f"unix://{pair.far.admin_path}"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    # 1: it would change something.
    assert process.returncode in (0, 1) and "interrupted" not in said, said
