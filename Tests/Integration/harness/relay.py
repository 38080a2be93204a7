"""One `meshrelay serve` process: its configuration, its life, its admin socket, its log.

Every process is started so that the kernel kills it when the test process dies, and `Relay.stop_all`
ends the rest: no test leaves a relay behind, however it ends.
"""

import http.client
import json
import os
import pathlib
import random
import signal
import socket
import subprocess

import yaml

from .waiting import eventually

ROOT = pathlib.Path(__file__).resolve().parents[3]
PROGRAM = os.environ.get("MESHRELAY", str(ROOT / ".build" / "debug" / "meshrelay"))
# Empty: as the relay itself chooses.
DRIVER = os.environ.get("MESHRELAY_IO", "")


def free_port():
    """A loopback port that was free a moment ago, and stays so while its owner restarts: below those that the kernel
    gives to outgoing connections, of which tests make many."""
    first = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(10_240, first) if first > 20_000 else 0
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
                return listener.getsockname()[1]
            except OSError:
                continue


def run(*arguments, timeout=30):
    """Runs one command of the program to its end."""
    return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=timeout)


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Relay:
    COMMAND = "serve"
    _running = []
    # Words before the program: another host, say (`harness.network`).
    prefix = ()

    def __init__(self, folder, name, trust, *, sources, policy, port=None, **settings):
        """`policy` is the policy file's content as a value; `settings` are further configuration keys."""
        self.name = name
        self.trust = trust
        self.folder = pathlib.Path(folder) / name
        self.folder.mkdir(parents=True)
        self.port = port or free_port()
        self.svid = trust.issue(f"relay/{name}", folder=self.folder)
        self.process = None
        self.configuration = {
            "node": name,
            "identity": {
                "files": {"svid": str(self.svid.certificate), "key": str(self.svid.key)},
                "bundles": {trust.name: str(trust.bundle)},
            },
            "sources": sources,
            "listen": [{"address": self.address}],
            "policy": "policy.yaml",
            "admin": f"unix://{self.admin_path}",
            "loops": 1,
            **settings,
        }
        self.write_policy(policy)
        self.write_configuration()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    @property
    def admin_path(self):
        return self.folder / "admin.sock"

    @property
    def configuration_path(self):
        return self.folder / "meshrelay.yaml"

    @property
    def log(self):
        return (self.folder / "log").read_text(errors="replace")

    def as_upstream(self, name="upstream", **settings):
        """The source entry with which another relay names this one."""
        return {
            "name": name,
            "upstream": {
                "addresses": [self.address], "spiffeID": self.svid.uri, "protocol": "sotw", **settings},
        }

    def write_configuration(self):
        self.configuration_path.write_text(yaml.safe_dump(self.configuration, sort_keys=False))

    def write_policy(self, policy):
        """Replaces the policy atomically; text is written as it is, so that it may be wrong."""
        text = policy if isinstance(policy, str) else yaml.safe_dump(policy, sort_keys=False)
        fresh = self.folder / "policy.yaml.new"
        fresh.write_text(text)
        fresh.rename(self.folder / "policy.yaml")

    def start(self, ready=True, arguments=(), identified=True):
        """Starts the process and returns when it is ready; without `ready`, when it listens; without `identified`,
        when it answers its operator."""
        if DRIVER and "--io" not in arguments:
            arguments = ("--io", DRIVER, *arguments)
        log = open(self.folder / "log", "ab")
        with log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self.prefix, PROGRAM, self.COMMAND, "--config",
                 str(self.configuration_path), *arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        if self not in Relay._running:
            Relay._running.append(self)
        if not identified:
            self._wait_for("/healthz", 10)
        elif ready:
            self.wait_ready()
        else:
            self.wait_alive()
        return self

    def wait_ready(self, timeout=20):
        """Returns when /readyz says 200."""
        self._wait_for("/readyz", timeout)

    def wait_alive(self, timeout=10):
        """Returns when /healthz says 200 and handshakes succeed; the relay may still have nothing to serve."""
        self._wait_for("/healthz", timeout)
        # Until its identity is read a relay turns every connection away.
        eventually(
            lambda: self.status["identity"], lambda identity: identity and identity.get("spiffeID"), timeout,
            f"the identity of {self.name}")

    def _wait_for(self, path, timeout):
        def answer():
            if self.process.poll() is not None:
                raise AssertionError(f"{self.name} ended with {self.process.returncode}:\n{self.log[-4000:]}")
            return self.get(path)

        try:
            eventually(answer, lambda got: got is not None and got[0] == 200, timeout, f"{path} of {self.name}")
        except AssertionError as problem:
            raise AssertionError(f"{problem}\nlog of {self.name}:\n{self.log[-4000:]}") from None

    def get(self, path):
        """(status, body) of an admin request; None when nobody listens."""
        connection = UnixConnection(str(self.admin_path), timeout=5)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    @property
    def status(self):
        answer = self.get("/status")
        assert answer and answer[0] == 200, f"/status of {self.name}: {answer}"
        return json.loads(answer[1])

    def metric(self, name, **labels):
        """The value of one series of /metrics; None when it is not there."""
        answer = self.get("/metrics")
        assert answer and answer[0] == 200, f"/metrics of {self.name}: {answer}"
        for line in answer[1].splitlines():
            series, _, value = line.rpartition(" ")
            if series.partition("{")[0] == name and all(f'{key}="{text}"' in series for key, text in labels.items()):
                return float(value)
        return None

    @property
    def is_alive(self):
        return self.process is not None and self.process.poll() is None

    def reload(self):
        self.process.send_signal(signal.SIGHUP)

    def terminate(self, timeout=15):
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def kill(self):
        """kill -9, as a crash would."""
        if self.is_alive:
            self.process.kill()
        if self.process:
            self.process.wait()

    @classmethod
    def running(cls, below="/"):
        """Relays started and not yet stopped whose folder is below this one."""
        return [relay for relay in cls._running if relay.folder.is_relative_to(below)]

    @classmethod
    def stop_all(cls, below="/"):
        for relay in cls.running(below):
            relay.kill()
            cls._running.remove(relay)
