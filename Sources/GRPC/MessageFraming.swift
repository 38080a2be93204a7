// gRPC's Length-Prefixed-Message: 1 byte flag, 4 bytes big-endian length, then the message.
//
// Steps 5 and 10 of the life of a resource. Source: "gRPC over HTTP/2", 'Length-Prefixed-Message'.
// Borders of DATA frames mean nothing here. Compression is never used and never accepted.

/// Puts the prefix before messages whose bytes are not ours to copy.
public enum MessageFramer {
  /// Length of the prefix in bytes.
  public static let prefixBytes = 5

  /// An uncompressed message with its prefix; `bodyBytes` more belong to it and follow. All of it is at most
  /// 2^32 − 1 bytes: what is served was bounded at admission.
  public static func framed(_ head: ArraySlice<UInt8>, bodyBytes: Int = 0) -> [UInt8] {
    guard let length = UInt32(exactly: head.count + bodyBytes) else {
      preconditionFailure("a gRPC message has at most 4 GiB")
    }
    // One allocation: this is done for each message of each client.
    return unsafe [UInt8](unsafeUninitializedCapacity: prefixBytes + head.count) { memory, count in
      unsafe memory[0] = 0
      for place in 1..<prefixBytes {
        unsafe memory[place] = UInt8(truncatingIfNeeded: length >> UInt32(8 * (prefixBytes - 1 - place)))
      }
      count = prefixBytes
      if !head.isEmpty {
        _ = unsafe UnsafeMutableBufferPointer(rebasing: memory[prefixBytes...]).initialize(from: head)
        count += head.count
      }
    }
  }
}

/// Cuts messages out of the bytes of one direction of a call.
///
///     prefix ──5 bytes──► message ──its bytes──► prefix …
///        └──── bad flag or length ────► failed
///
/// A refused message is never stored: its prefix alone decides.
public struct MessageDeframer: Sendable {
  private enum State {
    case prefix(have: Int, bits: UInt64)
    case message(missing: Int)
    case failed(GRPCStatus)
  }

  private var state: State = .prefix(have: 0, bits: 0)
  /// What has arrived of the message under way.
  private var current: [UInt8] = []
  private var complete: [[UInt8]] = []
  /// 0 ≤ taken ≤ complete.count.
  private var taken = 0
  private let maximumBytes: Int
  private let compressedStatus: StatusCode

  /// - Parameters:
  ///   - maximumBytes: of one message.
  ///   - compressedStatus: the end of a call whose peer sends a compressed message: INTERNAL if it announced
  ///     no coding, UNIMPLEMENTED if it announced one to a server.
  public init(maximumBytes: Int, compressedStatus: StatusCode = .internalError) {
    self.maximumBytes = maximumBytes
    self.compressedStatus = compressedStatus
  }

  /// Memory is taken for at most so many bytes before they arrive: a prefix is only a claim.
  private static let reservedAtOnce = 64 * 1024

  /// Bytes held: complete messages not taken yet, and the one under way.
  public var bufferedBytes: Int {
    complete[taken...].reduce(current.count) { $0 + $1.count }
  }

  /// Nothing of a next message has arrived; at the end of a call anything else is a truncated message.
  public var isBetweenMessages: Bool {
    if case .prefix(have: 0, _) = state { true } else { false }
  }

  /// Takes the bytes of one DATA frame. After a failure they are dropped.
  public mutating func append(_ bytes: UnsafeRawBufferPointer) {
    var rest = unsafe bytes[...]
    while unsafe !rest.isEmpty {
      switch state {
      case .failed:
        return
      case .prefix(let have, let bits):
        // One byte at a time: five of them, and a border may lie between any two.
        let next = unsafe bits << 8 | UInt64(rest.removeFirst())
        state = have + 1 < MessageFramer.prefixBytes ? .prefix(have: have + 1, bits: next) : begin(next)
        finishIfComplete()
      case .message(let missing):
        let count = unsafe min(missing, rest.count)
        unsafe current.append(contentsOf: rest.prefix(count))
        unsafe rest = rest.dropFirst(count)
        state = .message(missing: missing - count)
        finishIfComplete()
      }
    }
  }

  /// The next whole message, nil while there is none. Throws once all messages before the fault are taken:
  /// RESOURCE_EXHAUSTED above `maximumBytes`, INTERNAL for a bad flag, `compressedStatus` for flag 1.
  public mutating func next() throws(GRPCStatus) -> [UInt8]? {
    if taken < complete.count {
      let message = complete[taken]
      complete[taken] = []
      taken += 1
      if taken == complete.count {
        complete.removeAll(keepingCapacity: true)
        taken = 0
      }
      return message
    }
    if case .failed(let status) = state { throw status }
    return nil
  }

  /// `prefix`: flag in bits 32…39, length in bits 0…31.
  private mutating func begin(_ prefix: UInt64) -> State {
    let length = prefix & 0xffff_ffff
    switch prefix >> 32 {
    case 0: break
    case 1: return .failed(GRPCStatus(compressedStatus, "compressed messages are not supported"))
    case let flag: return .failed(GRPCStatus(.internalError, "bad message flag \(flag)"))
    }
    guard let size = Int(exactly: length), size <= maximumBytes else {
      return .failed(
        GRPCStatus(.resourceExhausted, "message of \(length) bytes is above the limit of \(maximumBytes)"))
    }
    current.reserveCapacity(min(size, MessageDeframer.reservedAtOnce))
    return .message(missing: size)
  }

  private mutating func finishIfComplete() {
    guard case .message(missing: 0) = state else { return }
    complete.append(current)
    current = []
    state = .prefix(have: 0, bits: 0)
  }
}
