// The section `limits`: every property of `Limits` under its own name, each with the range that makes sense.

import Documents
import Primitives

enum LimitSettings {
  private enum Property {
    case count(any WritableKeyPath<Limits, Int> & Sendable, ClosedRange<Int>)
    case size(any WritableKeyPath<Limits, Int> & Sendable, ClosedRange<Int>)
    case duration(any WritableKeyPath<Limits, Duration> & Sendable, ClosedRange<Duration>)
  }

  private static let properties: [(name: String, property: Property)] = [
    ("clients", .count(\.clients, 1...10_000_000)),
    ("clientsPerIdentity", .count(\.clientsPerIdentity, 1...10_000_000)),
    ("streamsPerConnection", .count(\.streamsPerConnection, 1...100_000)),
    ("headerBytes", .size(\.headerBytes, 1024...(1 << 20))),
    ("continuations", .count(\.continuations, 0...1000)),
    ("resetsPerSecond", .count(\.resetsPerSecond, 1...1_000_000)),
    ("settingsPerSecond", .count(\.settingsPerSecond, 1...1_000_000)),
    ("pingsPerSecond", .count(\.pingsPerSecond, 1...1_000_000)),
    // gRPC lengths have 32 bits, and Swift's buffers want room beside them.
    ("messageBytes", .size(\.messageBytes, 1024...(2 << 30))),
    ("requestBytes", .size(\.requestBytes, 1024...(2 << 30))),
    ("resourceBytes", .size(\.resourceBytes, 1024...(1 << 30))),
    ("namesPerSubscription", .count(\.namesPerSubscription, 1...10_000_000)),
    ("typesPerStream", .count(\.typesPerStream, 1...100_000)),
    ("handshakesAtOnce", .count(\.handshakesAtOnce, 1...100_000)),
    ("handshakesWaiting", .count(\.handshakesWaiting, 1...1_000_000)),
    ("handshake", .duration(\.handshake, .milliseconds(100) ... .seconds(600))),
    ("firstByte", .duration(\.firstByte, .milliseconds(100) ... .seconds(600))),
    ("idle", .duration(\.idle, .seconds(1) ... .seconds(86_400))),
    ("controlMailbox", .count(\.controlMailbox, 16...100_000_000)),
    ("workerMailbox", .count(\.workerMailbox, 16...100_000_000)),
    ("auditBytes", .size(\.auditBytes, (64 << 10)...(1 << 30))),
    ("refuseHold", .duration(\.refuseHold, .zero ... .seconds(60))),
    ("refusedAtOnce", .count(\.refusedAtOnce, 0...1_000_000)),
    ("resend", .duration(\.resend, .milliseconds(1) ... .seconds(3600))),
    ("resendBurst", .count(\.resendBurst, 1...100_000)),
    ("acknowledgement", .duration(\.acknowledgement, .milliseconds(100) ... .seconds(3600))),
    ("drain", .duration(\.drain, .zero ... .seconds(600))),
    ("sendBufferBytes", .size(\.sendBufferBytes, (16 << 10)...(64 << 20))),
  ]

  /// For the test that no limit is forgotten.
  static let names = properties.map(\.name)

  static func read(_ reader: MappingReader) -> Limits? {
    var limits = Limits()
    for (name, property) in properties {
      switch property {
      case .count(let path, let range):
        limits[keyPath: path] = reader.integer(name, in: range)?.value ?? limits[keyPath: path]
      case .size(let path, let range):
        limits[keyPath: path] = reader.size(name, in: range)?.value ?? limits[keyPath: path]
      case .duration(let path, let range):
        limits[keyPath: path] = reader.duration(name, in: range)?.value ?? limits[keyPath: path]
      }
    }
    checkDerived(&limits, reader)
    return limits
  }

  private static func checkDerived(_ limits: inout Limits, _ reader: MappingReader) {
    if reader.entry("clientsPerIdentity") == nil {
      limits.clientsPerIdentity = min(limits.clientsPerIdentity, limits.clients)
    }
    let pairs = [
      ("clientsPerIdentity", limits.clientsPerIdentity, "clients", limits.clients),
      ("resourceBytes", limits.resourceBytes, "messageBytes", limits.messageBytes),
    ]
    for (small, smallValue, large, largeValue) in pairs where smallValue > largeValue {
      let position = (reader.entry(small) ?? reader.entry(large))?.position ?? reader.position
      reader.problems.report(
        position, "limits.\(small) is more than limits.\(large)", howToFix: "raise \(large) or lower \(small)"
      )
    }
  }
}
