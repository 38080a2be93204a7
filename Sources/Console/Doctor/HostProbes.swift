// The host itself: its clock, its kernel, what the kernel lets a process have.

import CLinux
import Glibc
import Primitives
import Ring
import TLS

enum HostProbes {
  static func all() -> [DoctorFinding] { [clock(), kernel(), ring(), memory(), user()] }

  /// Certificates are judged by it.
  private static func clock() -> DoctorFinding {
    clock(linux_clock_synchronised())
  }

  static func clock(_ answer: Int32) -> DoctorFinding {
    switch answer {
    case 1: .ok(.clock, "somebody keeps it right; it is \(wallClock().rfc3339)")
    case 0:
      .warning(
        .clock, "nobody keeps it right, and certificates are judged by it; it is \(wallClock().rfc3339)",
        fix: "systemctl enable --now systemd-timesyncd")
    default:
      .warning(
        .clock, "the kernel does not say whether somebody keeps it right (a seccomp filter?)",
        fix: "allow the call adjtimex, or compare by hand: date -u")
    }
  }

  private static func kernel() -> DoctorFinding {
    var names = utsname()
    guard unsafe uname(&names) == 0 else {
      return .warning(.kernel, "the kernel does not say which it is", fix: "uname -r")
    }
    let release = unsafe withUnsafeBytes(of: &names.release) { bytes in
      unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }
    return kernel(release)
  }

  /// - Parameter release: as `uname -r` prints it.
  static func kernel(_ release: String) -> DoctorFinding {
    let numbers = release.split(separator: ".", maxSplits: 2).prefix(2).map { part in
      Int(part.prefix { $0.isNumber }) ?? 0
    }
    guard numbers.count == 2, (numbers[0], numbers[1]) >= (6, 1) else {
      return .warning(
        .kernel,
        "Linux \(release) is older than 6.1: epoll serves instead of io_uring, with more work per byte",
        fix: "apt-get install linux-image-amd64, then reboot")
    }
    return .ok(.kernel, "Linux \(release)")
  }

  private static func ring() -> DoctorFinding {
    do throws(RingError) {
      _ = try makeDriver(.ioURing)
      return .ok(.kernel, "io_uring can be had")
    } catch {
      return .of(error, .kernel, as: .warning)
    }
  }

  /// Files that the relay cannot read are found by whoever cannot read them either.
  private static func user() -> DoctorFinding {
    let serviceUser = unsafe getpwnam("meshrelay").map { unsafe $0.pointee.pw_uid }
    return user(running: geteuid(), service: serviceUser)
  }

  /// - Parameter service: nil: this host has no such user.
  static func user(running: UInt32, service: UInt32?) -> DoctorFinding {
    guard let service, service != running else { return .ok(.user, "files are examined as user \(running)") }
    return .warning(
      .user,
      "files are examined as user \(running), and the service runs as meshrelay (\(service)), who may read others",
      fix: "sudo -u meshrelay meshrelay doctor")
  }

  /// What keys lie in.
  private static func memory() -> DoctorFinding {
    guard SecretBytes([0]).isLocked, SecureHeap.prepare() == .locked else {
      return .warning(
        .memory, "not enough memory can be locked here: keys may be written to swap",
        fix: "set LimitMEMLOCK=64M in the unit (systemctl edit meshrelay), or raise ulimit -l")
    }
    return .ok(.memory, "keys can be locked in memory")
  }
}
