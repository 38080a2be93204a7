"""Nobody of the same user looks into a process that holds keys, no core dump has them, and nothing is left of them but
where they are locked.

Method: the real processes, and what the kernel says of them in /proc; a neighbour that asks for their memory; a crash;
all of a relay's memory searched for its private key, as root.
"""

import os
import pathlib
import re
import resource
import signal
import subprocess

import pytest
from cryptography.hazmat.primitives import serialization
from harness.ads import StateOfTheWorld
from harness.agent import Agent, entry
from harness.companion import Companion
from harness.relay import PROGRAM, Relay
from harness.tiers import MANIFESTS, edge_policy
from harness.trust import TrustDomain
from harness.waiting import eventually
from test_03_changes import TYPE_URL

# An ordinary user without anything: nobody.
USER = 65534


@pytest.fixture
def trust(folder):
    return TrustDomain(folder / "trust")


def processes(folder, trust):
    relay = Relay(
        folder, "edge", trust, sources=[{"name": "files", "directory": {"path": str(MANIFESTS)}}],
        policy=edge_policy()).start()
    companion = Companion(folder, trust, trust.issue("cluster/all/istiod"), [relay]).start()
    return relay, companion


def flags_of_locked_mappings(pid):
    """VmFlags of mappings that are locked and left out of core dumps."""
    lines = pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines()
    flags = [set(line.split()[1:]) for line in lines if line.startswith("VmFlags:")]
    return [each for each in flags if {"lo", "dd"} <= each]


class Memory:
    """The writable memory of a process at one moment."""

    def __init__(self, pid):
        self._mappings = []
        place = None
        with open(f"/proc/{pid}/mem", "rb", 0) as memory:
            for line in open(f"/proc/{pid}/smaps"):
                if head := re.match(r"([0-9a-f]+)-([0-9a-f]+) rw\S* \S+ \S+ \S+\s*(.*)", line):
                    place = (int(head[1], 16), int(head[2], 16), head[3] or "anonymous")
                elif re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
                    place = None
                elif line.startswith("VmFlags:") and place:
                    start, end, name = place
                    try:
                        memory.seek(start)
                        content = memory.read(end - start)
                    except OSError:
                        # Of a driver, or given back meanwhile.
                        continue
                    self._mappings.append((name, set(line.split()[1:]), content))

    def finds(self, svid):
        """Where the private number of an SVID's key stands, as files have it and as OpenSSL does: (how often in pages that
        are locked and not dumped, what other mappings have it)."""
        key = serialization.load_pem_private_key(svid.key.read_bytes(), None)
        number = key.private_numbers().private_value.to_bytes(32, "big")
        base64 = svid.key.read_bytes().splitlines()[2]
        safe, elsewhere = 0, []
        for name, flags, content in self._mappings:
            count = sum(content.count(each) for each in (number, number[::-1], base64))
            if {"lo", "dd"} <= flags:
                safe += count
            elif count:
                elsewhere.append((name, count))
        return safe, elsewhere


@pytest.mark.skipif(os.getuid() != 0, reason="only root may look into such a process: run as root")
@pytest.mark.parametrize("source", ["files", "agent"])
def test_the_key_is_where_it_is_locked_and_nowhere_else(folder, trust, source):
    """While it is used in both directions and signs checkpoints; and of the one before nothing is left."""
    origin = Relay(
        folder, "origin", trust, sources=[{"name": "files", "directory": {"path": str(MANIFESTS)}}],
        policy=edge_policy())
    relay = Relay(
        folder, "edge", trust, sources=[origin.as_upstream()], policy=edge_policy(),
        audit={"path": str(folder / "audit.jsonl")})
    policy = edge_policy()
    policy["clusters"].append({"name": "edge", "identities": [relay.svid.uri], "allow": [{}]})
    origin.write_policy(policy)
    origin.start()
    with Agent(folder) as agent:
        if source == "agent":
            relay.configuration["identity"] = {"workloadAPI": agent.address}
            relay.write_configuration()
            agent.offer(entry(relay.svid, trust))
        relay.start()

        def serve():
            for _ in range(3):
                with StateOfTheWorld(relay.address, trust.issue("cluster/all/istiod"), trust.bundle) as client:
                    client.subscribe(TYPE_URL)
                    client.wait_for(TYPE_URL)

        def only_locked(svid, least):
            safe, elsewhere = Memory(relay.process.pid).finds(svid)
            assert elsewhere == [], f"the key stands in memory that is not locked: {elsewhere}"
            assert safe >= least, "the search finds what is there"

        serve()
        eventually(lambda: '"event":"checkpoint"' in (folder / "audit.jsonl").read_text(), bool, 5, "a checkpoint")
        only_locked(relay.svid, 1)
        for turn in (2, 3):
            before = relay.svid
            if source == "agent":
                relay.svid = trust.issue("relay/edge")
                agent.offer(entry(relay.svid, trust))
            else:
                # Moved into place as its issuer does; the search reads the key where it lay.
                relay.svid = trust.issue("relay/edge")
                for name, path in (("svid", relay.svid.certificate), ("key", relay.svid.key)):
                    fresh = folder / f"fresh-{name}"
                    fresh.write_bytes(path.read_bytes())
                    fresh.chmod(0o600)
                    fresh.rename(relay.configuration["identity"]["files"][name])
            eventually(lambda: relay.log.count("identity loaded"), lambda count: count == turn, 10, "the new SVID")
            serve()
            only_locked(relay.svid, 1)
            # The stream to the upstream was made with the first one; of the second nobody holds anything.
            only_locked(before, 0)
    origin.kill()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give up the right to lock for one process: run as root")
def test_without_the_right_to_lock(folder, trust):
    """All works, and the journal says what it means."""
    relay = Relay(
        folder, "edge", trust, sources=[{"name": "files", "directory": {"path": str(MANIFESTS)}}], policy=edge_policy())
    relay.prefix = ("setpriv", "--bounding-set", "-ipc_lock", "prlimit", "--memlock=65536:65536")
    relay.start()
    assert "does not let keys be locked in memory: they may be written to swap" in relay.log
    with StateOfTheWorld(relay.address, trust.issue("cluster/all/istiod"), trust.bundle) as client:
        client.subscribe(TYPE_URL)
        client.wait_for(TYPE_URL)
    ordinary = Relay(
        folder, "other", trust, sources=[{"name": "files", "directory": {"path": str(MANIFESTS)}}],
        policy=edge_policy()).start()
    assert "locked in memory" not in ordinary.log


def test_serve_and_connect_are_undumpable(folder, trust):
    """PR_SET_DUMPABLE shows in the owner of /proc/PID: root, whoever runs the process; root has to look below."""
    for relay in processes(folder, trust):
        pid = relay.process.pid
        status = dict(
            line.split(":\t", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
        assert status["Name"] == "meshrelay"
        assert flags_of_locked_mappings(pid), "the key lies in pages that are locked and not dumped"
        if os.getuid() != 0:
            assert os.stat(f"/proc/{pid}/environ").st_uid == 0
            with pytest.raises(PermissionError):
                open(f"/proc/{pid}/mem", "rb").close()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user: run as root")
def test_a_neighbour_of_the_same_user_sees_nothing(folder):
    """As an ordinary user: /proc/PID belongs to root, ptrace and process_vm_readv are refused."""
    home = folder / "nobody"
    trust = TrustDomain(home / "trust")
    relay = Relay(
        home, "edge", trust, sources=[{"name": "files", "directory": {"path": str(MANIFESTS)}}], policy=edge_policy())
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, USER, USER)
    log = open(relay.folder / "log", "ab")
    with log:
        relay.process = subprocess.Popen(
            ["setpriv", "--reuid", str(USER), "--regid", str(USER), "--clear-groups", "--pdeathsig", "KILL",
             *_program(relay)], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    Relay._running.append(relay)
    relay.wait_ready()
    pid = relay.process.pid
    # A process that does not hide belongs to its user; ours does not.
    other = subprocess.Popen(["setpriv", "--reuid", str(USER), "--regid", str(USER), "--clear-groups", "sleep", "60"])
    try:
        eventually(lambda: os.stat(f"/proc/{other.pid}/environ").st_uid, lambda uid: uid == USER, 5, "the other's owner")
        assert os.stat(f"/proc/{pid}/environ").st_uid == 0
        assert os.stat(f"/proc/{pid}/mem").st_uid == 0
        # Control: the neighbour may look into the other one, unless this kernel forbids all of it.
        yama = pathlib.Path("/proc/sys/kernel/yama/ptrace_scope")
        if not yama.exists() or yama.read_text().strip() == "0":
            assert _neighbour(other.pid) == {"attach": 0, "mem": 0}
        assert _neighbour(pid) == {"attach": 1, "mem": 1}
    finally:
        other.kill()
        other.wait()
    assert relay.is_alive


def _program(relay):
    return [PROGRAM, relay.COMMAND, "--config", str(relay.configuration_path)]


def _neighbour(pid):
    """What a process of the same user reaches: ptrace(PTRACE_SEIZE) and /proc/PID/mem; 0 allowed, 1 refused."""
    script = f"""
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long] * 4
seized = libc.ptrace(0x4206, {pid}, 0, 0)
if seized == 0:
    libc.ptrace(17, {pid}, 0, 0)
try:
    open("/proc/{pid}/mem", "rb").close()
    mem = 0
except PermissionError:
    mem = 1
print(0 if seized == 0 else 1, mem)
"""
    said = subprocess.run(
        ["setpriv", "--reuid", str(USER), "--regid", str(USER), "--clear-groups", "/usr/bin/python3", "-c", script],
        capture_output=True, text=True, timeout=20)
    attach, mem = said.stdout.split()
    return {"attach": int(attach), "mem": int(mem)}


def dumps_core(process):
    """Whether the kernel dumps this one, with core dumps allowed to it."""
    unlimited = resource.prlimit(process.pid, resource.RLIMIT_CORE)[1]
    resource.prlimit(process.pid, resource.RLIMIT_CORE, (unlimited, unlimited))
    os.kill(process.pid, signal.SIGXCPU)
    status = eventually(lambda: os.waitpid(process.pid, os.WNOHANG), lambda found: found[0] != 0, 10, "its end")[1]
    process.returncode = -signal.SIGXCPU
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU
    return os.WCOREDUMP(status)


def test_a_crash_leaves_no_core(folder, trust):
    """A signal that dumps core, with core dumps allowed: the kernel says that it dumped none.

    SIGXCPU, because the Swift runtime takes the signals of crashes for itself where its debugger is installed."""
    relay = Relay(
        folder, "edge", trust, sources=[{"name": "files", "directory": {"path": str(MANIFESTS)}}],
        policy=edge_policy()).start()
    control = subprocess.Popen(["sleep", "60"], cwd=folder)
    if not dumps_core(control):
        pytest.skip("this kernel dumps no process at all (core_pattern, or a limit): nothing to compare with")
    assert not dumps_core(relay.process)


def test_the_unit_allows_no_core():
    unit = (pathlib.Path(__file__).parents[2] / "systemd" / "meshrelay.service").read_text()
    assert "LimitCORE=0" in unit and "LimitMEMLOCK=" in unit
