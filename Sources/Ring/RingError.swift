// Everything that can go wrong between this process and the kernel's sockets, with what an operator can do.

import CLinux
public import Primitives

/// Errors of the room Ring. Numbers are `errno` values.
public enum RingError: Explained, Equatable {
  /// io_uring itself cannot be had.
  case ringRefused(errno: Int32)
  /// io_uring is there, but lacks features that are needed.
  case ringTooOld(missing: [MissingFeature])
  /// A listening socket cannot be made.
  case cannotListen(SocketAddress, errno: Int32)
  /// An inherited descriptor is no listening socket.
  case notListening(descriptor: Int32, errno: Int32)
  /// The kernel has no room for one more of what `call` makes.
  case resourceRefused(call: String, errno: Int32)
  case connectFailed(SocketAddress, errno: Int32)
  case receiveFailed(errno: Int32)
  case sendFailed(errno: Int32)

  /// The `errno` behind it; 0 when there is none.
  public var number: Int32 {
    switch self {
    case .ringRefused(let errno), .cannotListen(_, let errno), .notListening(_, let errno),
      .resourceRefused(_, let errno), .connectFailed(_, let errno), .receiveFailed(let errno),
      .sendFailed(let errno):
      errno
    case .ringTooOld: 0
    }
  }

  public var what: String {
    switch self {
    case .ringRefused(let errno): "Cannot create io_uring (\(errnoName(errno)))"
    case .ringTooOld(let missing):
      "io_uring lacks what is needed: \(missing.map(\.feature.rawValue).joined(separator: ", "))"
    case .cannotListen(let address, let errno): "Cannot listen on \(address) (\(errnoName(errno)))"
    case .notListening(let descriptor, let errno):
      "Descriptor \(descriptor) is no listening stream socket (\(errnoName(errno)))"
    case .resourceRefused(let call, let errno): "\(call) failed (\(errnoName(errno)))"
    case .connectFailed(let address, let errno): "Cannot connect to \(address) (\(errnoName(errno)))"
    case .receiveFailed(let errno): "Receiving failed (\(errnoName(errno)))"
    case .sendFailed(let errno): "Sending failed (\(errnoName(errno)))"
    }
  }

  public var why: String {
    switch self {
    case .ringRefused(let errno): RingError.reason(ringErrno: errno).why
    case .ringTooOld(let missing): missing.first?.why ?? ""
    case .cannotListen(_, let errno): RingError.listenReason(errno).why
    case .notListening: "The descriptor came from outside, as with systemd socket activation"
    case .resourceRefused(_, let errno): RingError.resourceReason(errno).why
    case .connectFailed(_, let errno): RingError.peerReason(errno)
    case .receiveFailed(let errno), .sendFailed(let errno): RingError.peerReason(errno)
    }
  }

  public var howToFix: String {
    switch self {
    case .ringRefused(let errno): RingError.reason(ringErrno: errno).howToFix
    case .ringTooOld(let missing): missing.first?.howToFix ?? ""
    case .cannotListen(_, let errno): RingError.listenReason(errno).howToFix
    case .notListening: "Check that the .socket unit has ListenStream= and Accept=no"
    case .resourceRefused(_, let errno): RingError.resourceReason(errno).howToFix
    case .connectFailed, .receiveFailed, .sendFailed: ""
    }
  }

  public var blame: Blame {
    switch self {
    case .ringRefused, .ringTooOld, .resourceRefused: .kernel
    case .cannotListen, .notListening: .operator
    case .connectFailed, .receiveFailed, .sendFailed: .peer
    }
  }

  /// What an `io_uring_setup` errno means and what helps. io_uring_setup(2), "ERRORS".
  static func reason(ringErrno: Int32) -> (why: String, howToFix: String) {
    switch ringErrno {
    case ENOSYS:
      (
        "This kernel is built without io_uring or is older than 5.1",
        "Use kernel 6.1 or newer, or run with --io epoll"
      )
    case EPERM, EACCES:
      (
        "Likely kernel.io_uring_disabled is 1 or 2, or a seccomp filter (a container's default profile) forbids it",
        "Set sysctl kernel.io_uring_disabled=0 or allow the io_uring calls, then restart; or run with --io epoll"
      )
    case ENOMEM:
      (
        "The limit on locked memory (RLIMIT_MEMLOCK) is likely too small for the ring",
        "Set LimitMEMLOCK=64M in the unit, then restart; or run with --io epoll"
      )
    case EMFILE, ENFILE: resourceReason(ringErrno)
    case EINVAL:
      (
        "The kernel knows none of the ring's set-up flags",
        "Use kernel 6.1 or newer, or run with --io epoll"
      )
    default: ("", "Run with --io epoll")
    }
  }

  private static func listenReason(_ errno: Int32) -> (why: String, howToFix: String) {
    switch errno {
    case EADDRINUSE:
      ("Another process uses this address", "Stop it (ss -ltnp shows it) or choose another port")
    case EACCES:
      (
        "Ports below 1024 need CAP_NET_BIND_SERVICE; a Unix path needs write access to its folder",
        "Grant it, or choose another address"
      )
    case EADDRNOTAVAIL:
      ("No interface of this host has this address", "Use an address of this host, or 0.0.0.0")
    case EAFNOSUPPORT: ("This kernel has the address family turned off", "Use an IPv4 address")
    case ENAMETOOLONG: ("A Unix path has 1 to \(SocketAddress.pathBytesMax) bytes", "Use a shorter path")
    case ENOENT: ("The folder of the Unix path does not exist", "Create it")
    default: ("", "")
    }
  }

  private static func resourceReason(_ errno: Int32) -> (why: String, howToFix: String) {
    switch errno {
    case EMFILE: ("This process has no free descriptor", "Raise LimitNOFILE= in the unit")
    case ENFILE: ("The whole host has no free descriptor", "Raise sysctl fs.file-max")
    case ENOMEM, ENOBUFS: ("The kernel has no memory for it", "")
    default: ("", "")
    }
  }

  private static func peerReason(_ errno: Int32) -> String {
    switch errno {
    case ECONNREFUSED: "Nothing listens there"
    case ECONNRESET, EPIPE: "The peer closed or lost the connection"
    case ETIMEDOUT: "The peer does not answer"
    case EHOSTUNREACH, ENETUNREACH: "There is no route to it"
    case ENOENT: "There is no such Unix socket"
    case ENAMETOOLONG: "A Unix path has 1 to \(SocketAddress.pathBytesMax) bytes"
    default: ""
    }
  }
}

/// `ECONNREFUSED` for 111; the number itself when it has no name.
func errnoName(_ number: Int32) -> String {
  guard let name = unsafe linux_errno_name(number) else { return "errno \(number)" }
  return unsafe String(cString: name)
}
