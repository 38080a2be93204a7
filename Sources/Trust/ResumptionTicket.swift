// What a session ticket of ours says: to whom it was given, where, and under which bundles. It is sealed by TLS and
// read by nobody else. Whatever does not match means a full handshake, never an error.

import Digest
public import Primitives
public import SPIFFE

/// Contents of one ticket.
public struct ResumptionTicket: Sendable, Equatable {
  /// The listener that gave it.
  public let listener: String
  public let id: SPIFFEID
  /// The earliest end of validity of the client's path.
  public let notAfter: Timestamp
  /// `Credentials.trustMark` of the bundles the client was verified by.
  public let trust: [UInt8]
  /// DER, leaf first: judged anew whenever the ticket comes back.
  public let chain: [[UInt8]]

  public init(listener: String, id: SPIFFEID, notAfter: Timestamp, trust: [UInt8], chain: [[UInt8]]) {
    self.listener = listener
    self.id = id
    self.notAfter = notAfter
    self.trust = trust
    self.chain = chain
  }

  /// Why a ticket does not count; nil: it does, and its chain is to be judged.
  public enum Mismatch: Sendable, Equatable { case listener, expired, trust }

  public func mismatch(listener: String, trust: [UInt8], at instant: Timestamp) -> Mismatch? {
    if listener != self.listener { return .listener }
    if trust != self.trust { return .trust }
    return notAfter < instant ? .expired : nil
  }
}

extension ResumptionTicket {
  private static let form: UInt8 = 1

  /// form, then each part with its length in four bytes.
  public var bytes: [UInt8] {
    var bytes = [ResumptionTicket.form]
    let time = ResumptionTicket.bigEndian(UInt64(bitPattern: notAfter.milliseconds), bytes: 8)
    for part in [Array(listener.utf8), Array(id.description.utf8), time, trust] + chain {
      bytes += ResumptionTicket.bigEndian(UInt64(part.count), bytes: 4) + part
    }
    return bytes
  }

  private static func bigEndian(_ value: UInt64, bytes count: Int) -> [UInt8] {
    (0..<count).reversed().map { UInt8(truncatingIfNeeded: value >> (UInt64($0) * 8)) }
  }

  /// Nil for anything that `bytes` has not written.
  public init?(_ bytes: [UInt8]) {
    guard bytes.first == ResumptionTicket.form else { return nil }
    var rest = bytes.dropFirst()
    var parts: [[UInt8]] = []
    while !rest.isEmpty {
      guard rest.count >= 4 else { return nil }
      let length = rest.prefix(4).reduce(0) { $0 << 8 | Int($1) }
      rest = rest.dropFirst(4)
      guard rest.count >= length else { return nil }
      parts.append(Array(rest.prefix(length)))
      rest = rest.dropFirst(length)
    }
    guard parts.count >= 5, parts[2].count == 8,
      let id = try? SPIFFEID(parsing: String(decoding: parts[1], as: UTF8.self))
    else { return nil }
    let time = parts[2].reduce(Int64(0)) { $0 << 8 | Int64($1) }
    self.init(
      listener: String(decoding: parts[0], as: UTF8.self), id: id,
      notAfter: Timestamp(milliseconds: time), trust: parts[3], chain: Array(parts[4...]))
  }
}

/// A mark of a set of bundles: equal sets, equal marks, on every loop. 32 bytes.
public func trustMark(of bundles: [TrustDomain: Bundle]) -> [UInt8] {
  var content: [UInt8] = []
  for (trustDomain, bundle) in bundles.sorted(by: { $0.key < $1.key }) {
    content += Array("\(trustDomain) \(bundle.anchors.count) \(bundle.revocations.count)\n".utf8)
    for part in bundle.content { content += SHA256.hash(part) }
  }
  return SHA256.hash(content)
}
