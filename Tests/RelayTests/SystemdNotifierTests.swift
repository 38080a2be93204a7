// Goal: systemd hears exactly what sd_notify(3) specifies. Method: a datagram socket in systemd's place,
// named by NOTIFY_SOCKET. The environment is the process's own, hence one test in one piece.

import Glibc
import Primitives
import Testing

@testable import Relay

@Suite(.serialized) struct SystemdNotifierTests {
  @Test func messagesArriveAsSpecified() throws {
    let path = "/tmp/meshrelay-notify-\(getpid())"
    let receiver = try #require(Receiver(path))
    unsafe setenv("NOTIFY_SOCKET", path, 1)
    unsafe setenv("WATCHDOG_USEC", "30000000", 1)
    unsafe setenv("WATCHDOG_PID", "\(getpid())", 1)
    defer { for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] { unsafe unsetenv(name) } }
    let systemd = SystemdNotifier()
    #expect(systemd.watchdogInterval == .seconds(15))
    systemd.ready("Serving 3 clients")
    #expect(receiver.next() == "READY=1\nSTATUS=Serving 3 clients")
    systemd.reloading(at: Instant(nanoseconds: 5_000_000))
    #expect(receiver.next() == "RELOADING=1\nMONOTONIC_USEC=5000")
    systemd.watchdog()
    #expect(receiver.next() == "WATCHDOG=1")
    systemd.status("a\nREADY=1")
    #expect(receiver.next() == "STATUS=a\\u{a}READY=1")
    systemd.stopping()
    #expect(receiver.next() == "STOPPING=1\nSTATUS=Draining")
  }

  @Test func withoutSystemdNothingHappens() {
    let systemd = SystemdNotifier()
    #expect(systemd.watchdogInterval == nil)
    systemd.ready("")
    #expect(InheritedSocket.takeAll() == [])
  }
}

private final class Receiver {
  private let descriptor: CInt
  private let path: String

  init?(_ path: String) {
    self.path = path
    descriptor = socket(AF_UNIX, CInt(SOCK_DGRAM.rawValue), 0)
    var limit = timeval(tv_sec: 10, tv_usec: 0)
    unsafe setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: path.utf8) }
    let result = unsafe withUnsafePointer(to: &address) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    if result != 0 { return nil }
  }

  func next() -> String {
    var bytes = [UInt8](repeating: 0, count: 4096)
    let count = unsafe bytes.withUnsafeMutableBytes { unsafe recv(descriptor, $0.baseAddress, $0.count, 0) }
    return String(decoding: bytes.prefix(max(count, 0)), as: UTF8.self)
  }

  deinit {
    close(descriptor)
    unsafe unlink(path)
  }
}
