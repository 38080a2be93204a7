// What this kernel's io_uring can do, tried once by doing it: version numbers lie (backports, seccomp,
// sysctl).
//
// The steps: create a ring with the wanted flags, dropping the newest ones while the kernel says EINVAL;
// ask for the operations; register a buffer ring; run one multishot receive on a socket pair, because
// multishot flags are not in the kernel's own probe. Never consults `uname`.

import CLiburing
import CLinux
import Glibc

/// A feature the io_uring driver uses. The text is its name in messages.
public enum RingFeature: String, Sendable, CaseIterable {
  case deferTaskRun = "DEFER_TASKRUN"
  case singleIssuer = "SINGLE_ISSUER"
  case cooperativeTaskRun = "COOP_TASKRUN"
  case operations = "the operations accept, connect, recv, send, poll, read and cancel"
  case waitTimeout = "wait with a time-out (EXT_ARG)"
  case bufferRing = "provided buffer rings"
  case multishotReceive = "multishot receive"

  /// The driver works without it, at some cost.
  public var isOptional: Bool {
    switch self {
    case .deferTaskRun, .singleIssuer, .cooperativeTaskRun: true
    case .operations, .waitTimeout, .bufferRing, .multishotReceive: false
    }
  }

  /// The first kernel release that has it.
  var sinceKernel: String {
    switch self {
    case .deferTaskRun: "6.1"
    case .singleIssuer, .multishotReceive: "6.0"
    case .cooperativeTaskRun, .bufferRing: "5.19"
    case .operations: "5.6"
    case .waitTimeout: "5.11"
    }
  }
}

/// One feature that is not there, and what can be done about it.
public struct MissingFeature: Sendable, Equatable, CustomStringConvertible {
  public let feature: RingFeature
  /// What the kernel answered when it was tried; 0 when it did not refuse but does not list it.
  public let errno: Int32

  public var why: String {
    switch errno {
    case 0, EINVAL, EOPNOTSUPP: "\(feature.rawValue) needs kernel \(feature.sinceKernel)"
    default: "\(feature.rawValue) was refused: \(RingError.reason(ringErrno: errno).why)"
    }
  }

  public var howToFix: String {
    switch errno {
    case 0, EINVAL, EOPNOTSUPP:
      feature.isOptional
        ? "Nothing has to be done; a newer kernel saves some CPU"
        : "Use kernel 6.1 or newer, or run with --io epoll"
    default: RingError.reason(ringErrno: errno).howToFix
    }
  }

  public var description: String { "\(why). \(howToFix)." }
}

/// The answer of the probe.
public struct RingFeatures: Sendable, Equatable {
  /// What was tried and is not there, required features first.
  public let missing: [MissingFeature]
  /// Set when not even a ring could be made.
  public let refusal: RingError?
  /// The set-up flags the kernel accepted (`IORING_SETUP_…`).
  let setupFlags: UInt32

  /// io_uring can carry an event loop here.
  public var isUsable: Bool { refusal == nil && !missing.contains { !$0.feature.isOptional } }

  /// Why it is not usable; nil when it is.
  public var reason: RingError? {
    if let refusal { return refusal }
    let required = missing.filter { !$0.feature.isOptional }
    return required.isEmpty ? nil : .ringTooOld(missing: required)
  }

  /// Tries everything on the calling thread. Takes well under a millisecond and leaves nothing behind.
  public static func probe() -> RingFeatures {
    let memory: RingMemory
    do throws(RingError) {
      memory = try RingMemory(entries: 8, completions: 32)
    } catch {
      return RingFeatures(missing: [], refusal: error, setupFlags: 0)
    }
    var missing: [MissingFeature] = []
    if !memory.supportsOperations { missing.append(MissingFeature(feature: .operations, errno: 0)) }
    if !memory.hasWaitTimeout { missing.append(MissingFeature(feature: .waitTimeout, errno: 0)) }
    missing += missingReceiveFeatures(memory)
    for (feature, flag) in RingMemory.optionalFlags where memory.setupFlags & flag == 0 {
      missing.append(MissingFeature(feature: feature, errno: EINVAL))
    }
    return RingFeatures(missing: missing, refusal: nil, setupFlags: memory.setupFlags)
  }

  /// Registers a buffer ring and receives one byte through it.
  private static func missingReceiveFeatures(_ memory: RingMemory) -> [MissingFeature] {
    let buffers: ReceiveBuffers
    do throws(RingError) {
      buffers = try ReceiveBuffers(ring: memory, count: 2, bytesEach: 64)
    } catch {
      return [RingFeature.bufferRing, .multishotReceive].map {
        MissingFeature(feature: $0, errno: error.number)
      }
    }
    let number = memory.tryMultishotReceive()
    memory.cancelEverything()
    withExtendedLifetime(buffers) {}
    return number == 0 ? [] : [MissingFeature(feature: .multishotReceive, errno: number)]
  }
}

extension RingMemory {
  /// 0 when a multishot receive with a provided buffer works, else the errno it failed with.
  fileprivate func tryMultishotReceive() -> Int32 {
    var pair: [Int32] = [-1, -1]
    guard unsafe socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0, &pair) == 0
    else {
      return errno
    }
    defer { for descriptor in pair { _ = Glibc.close(descriptor) } }
    var byte: UInt8 = 1
    guard unsafe Glibc.write(pair[1], &byte, 1) == 1 else { return errno }
    prepareReceive(pair[0], OperationToken(.receive))
    guard unsafe io_uring_submit_and_wait(ring, 1) >= 0 else { return EINVAL }
    var entry: UnsafeMutablePointer<io_uring_cqe>?
    guard unsafe io_uring_peek_batch_cqe(ring, &entry, 1) == 1, let entry = unsafe entry else {
      return EINVAL
    }
    let (result, flags) = unsafe (entry.pointee.res, entry.pointee.flags)
    unsafe io_uring_cq_advance(ring, 1)
    if result < 0 { return -result }
    return flags & UInt32(IORING_CQE_F_MORE) != 0 && flags & UInt32(IORING_CQE_F_BUFFER) != 0 ? 0 : EINVAL
  }
}
