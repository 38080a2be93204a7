"""Hosts of their own: network namespaces joined by cables that can be cut, or made to lose what goes one way.

What a cut looks like from inside is what it looks like in the field: nothing comes any more, and nobody says why.
Needs root; `obstacle` says why it is not possible here.
"""

import contextlib
import ctypes
import os
import socket
import subprocess
import threading

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def obstacle():
    """Why this host does not let the tests make networks; None when it does."""
    name = f"mr{os.getpid()}probe"
    try:
        made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    except FileNotFoundError:
        return "`ip` is missing (package iproute2)"
    if made.returncode != 0:
        return f"no network namespaces: {made.stderr.strip()}"
    try:
        veth = subprocess.run(
            ["ip", "link", "add", "probe0", "netns", name, "type", "veth", "peer", "name", "probe1", "netns", name],
            capture_output=True, text=True)
        return None if veth.returncode == 0 else f"no veth devices: {veth.stderr.strip()}"
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True)


class Cable:
    """Between an upper and a lower host."""

    def __init__(self, number, upper, lower):
        self.upper, self.lower = upper, lower
        self.ends = {upper: f"up{number}", lower: f"down{number}"}
        self.addresses = {upper: f"10.77.{number}.1", lower: f"10.77.{number}.2"}
        _ip("link", "add", self.ends[upper], "netns", upper, "type", "veth",
            "peer", "name", self.ends[lower], "netns", lower)
        for host in (upper, lower):
            _ip("-n", host, "addr", "add", f"{self.addresses[host]}/30", "dev", self.ends[host])
            _ip("-n", host, "link", "set", self.ends[host], "up")

    def cut(self):
        """Nothing passes."""
        _ip("-n", self.upper, "link", "set", self.ends[self.upper], "down")

    def deafen(self, host):
        """What goes to this host is lost on the way; what it says still arrives."""
        other = self.lower if host == self.upper else self.upper
        # Frames for another card: the receiver drops them without a word.
        _ip("-n", other, "neigh", "replace", self.addresses[host], "lladdr", "02:00:00:00:00:99",
            "nud", "permanent", "dev", self.ends[other])

    def heal(self):
        for host in (self.upper, self.lower):
            _ip("-n", host, "link", "set", self.ends[host], "up")
            other = self.lower if host == self.upper else self.upper
            subprocess.run(
                ["ip", "-n", host, "neigh", "del", self.addresses[other], "dev", self.ends[host]], capture_output=True)


class Network:
    """Hosts in a chain, and the cables between them."""

    def __init__(self, *names):
        self._doors = []
        self.hosts = {}
        self.cables = []
        try:
            for name in names:
                self.hosts[name] = f"mr{os.getpid()}{name}"
                _ip("netns", "add", self.hosts[name])
                _ip("-n", self.hosts[name], "link", "set", "lo", "up")
            for number, (upper, lower) in enumerate(zip(names, names[1:])):
                self.cables.append(Cable(number, self.hosts[upper], self.hosts[lower]))
        except BaseException:
            self.close()
            raise

    def prefix(self, name):
        """Runs what follows on this host."""
        return ["ip", "netns", "exec", self.hosts[name]]

    def door(self, name, port):
        """An address here behind which 127.0.0.1:`port` of that host is."""
        listener = socket.create_server(("127.0.0.1", 0))
        self._doors.append(listener)
        threading.Thread(target=self._serve, args=(listener, self.hosts[name], port), daemon=True).start()
        return f"127.0.0.1:{listener.getsockname()[1]}"

    def _serve(self, listener, host, port):
        while True:
            try:
                outside, _ = listener.accept()
            except OSError:
                return
            with _inside(host):
                # A socket stays in the namespace that it was made in.
                inside = socket.socket()
            try:
                inside.connect(("127.0.0.1", port))
            except OSError:
                inside.close()
                outside.close()
                continue
            for source, target in ((inside, outside), (outside, inside)):
                threading.Thread(target=_pump, args=(source, target), daemon=True).start()

    def close(self):
        for listener in self._doors:
            listener.close()
        for host in self.hosts.values():
            subprocess.run(["ip", "netns", "del", host], capture_output=True)


def _ip(*arguments):
    result = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    assert result.returncode == 0, f"ip {' '.join(arguments)}: {result.stderr}"


def _pump(source, target):
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def _inside(host):
    """This thread is on another host meanwhile."""
    with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{host}") as away:
        _enter(away)
        try:
            yield
        finally:
            _enter(home)


def _enter(namespace):
    if _libc.setns(namespace.fileno(), _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")
