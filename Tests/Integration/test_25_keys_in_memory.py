"""Nobody of the same user looks into a process that holds keys, and no core dump has them.

Method: the real processes, and what the kernel says of them in /proc; a neighbour that asks for their memory; a crash.
"""

import os
import pathlib
import resource
import signal
import subprocess

import pytest
from harness.companion import Companion
from harness.relay import PROGRAM, Relay
from harness.tiers import MANIFESTS, edge_policy
from harness.trust import TrustDomain
from harness.waiting import eventually

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
