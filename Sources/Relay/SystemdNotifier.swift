// What this process tells systemd, and what it inherits from it. Source: sd_notify(3),
// sd_watchdog_enabled(3), sd_listen_fds_with_names(3), systemd 252.
//
// Without systemd (no NOTIFY_SOCKET, no LISTEN_FDS) everything here does nothing. Each message is one
// datagram; nothing is kept, so any thread may call.

import CSystemd
import Glibc
import Primitives

/// Readiness, reload and watchdog messages of a `Type=notify` service.
struct SystemdNotifier: Sendable {
  /// How often `watchdog()` is due: half of the unit's WatchdogSec. Nil when no watchdog watches.
  let watchdogInterval: Duration?

  /// Reads WATCHDOG_USEC and WATCHDOG_PID once.
  init() {
    var microseconds: UInt64 = 0
    let watched = unsafe sd_watchdog_enabled(0, &microseconds) > 0
    watchdogInterval = watched ? .microseconds(Int64(clamping: microseconds / 2)) : nil
  }

  /// Startup, or a reload, is complete.
  func ready(_ status: String) { send("READY=1\nSTATUS=" + ForeignText.line(status)) }

  /// A reload begins; `ready` ends it. `Type=notify-reload` (systemd 253) wants the time as well.
  func reloading(at now: Instant) { send("RELOADING=1\nMONOTONIC_USEC=\(now.nanoseconds / 1000)") }

  func stopping() { send("STOPPING=1\nSTATUS=Draining") }

  /// One line for `systemctl status`.
  func status(_ text: String) { send("STATUS=" + ForeignText.line(text)) }

  /// Proof of life. Call only while every loop answers: that is what the watchdog is for.
  func watchdog() { send("WATCHDOG=1") }

  /// A message that cannot be delivered has nobody to be reported to: systemd's own timeouts decide.
  private func send(_ message: String) { unsafe _ = sd_notify(0, message) }
}

/// A listening socket that systemd opened for this process.
struct InheritedSocket: Sendable, Equatable {
  /// FileDescriptorName of the .socket unit.
  let name: String
  /// Owned by whoever takes it; closed on exec.
  let descriptor: CInt

  /// All of them, in the unit's order. Call once, before threads start: it clears LISTEN_FDS, so that a
  /// child does not take them for its own.
  static func takeAll() -> [InheritedSocket] {
    var names: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?
    let count = unsafe Int(sd_listen_fds_with_names(1, &names))
    guard count > 0, let names = unsafe names else { return [] }
    defer { unsafe free(names) }
    return (0..<count).map { index in
      let name = unsafe names[index]
      defer { unsafe free(name) }
      let text = unsafe name.map { unsafe String(cString: $0) } ?? ""
      return InheritedSocket(name: text, descriptor: CInt(SD_LISTEN_FDS_START) + CInt(index))
    }
  }
}
