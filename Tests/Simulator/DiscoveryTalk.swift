// The client's side of one stream, without I/O: written from the protocols and on generated messages, so that
// a misunderstanding shared by both sides of `XDS` or `MCP` is not shared by its judge.
// Source: envoy.service.discovery.v3, "Aggregated Discovery Service"; istio.mcp.v1alpha1, all services.

import Primitives
import Protos
import Snapshots
import SwiftProtobuf

/// One object as a client got it.
struct HeldObject: Equatable {
  let version: String
  /// From its label; nil when label and body do not belong together, or could not be read.
  let revision: Int?
}

/// What one response said.
struct Answer {
  let typeURL: String
  let version: String
  let nonce: String
  /// The whole set, in the state of the world.
  let isWhole: Bool
  let upserts: [String: HeldObject]
  let removed: [String]
  let controlPlane: ControlPlane?
  /// What the client held before.
  let before: [String: HeldObject]
  /// What it holds if it says yes.
  let after: [String: HeldObject]
  /// False after a refusal where changes are told: what is held then is of several moments.
  let isExact: Bool
}

/// One stream.
struct DiscoveryTalk {
  let dialect: TalkDialect
  let node: String
  /// By type URL: everything of what was accepted, over streams.
  private(set) var held: [String: [String: HeldObject]]
  private var acceptedVersions: [String: String] = [:]
  private var mixed: Set<String> = []
  /// Types that were answered on this stream.
  private(set) var answered: Set<String> = []

  /// A type nobody has: answered empty, and only when that is certain.
  static let unknownTypeURL = "example.org/v1/Nothing"
  static let unknownCollection = "istio/networking/v1alpha3/synthetic/serviceentries"

  init(dialect: TalkDialect, node: String, held: [String: [String: HeldObject]]) {
    self.dialect = dialect
    self.node = node
    self.held = held
  }

  var firstRequests: [[UInt8]] {
    dialect.typeURLs.enumerated().map { index, typeURL in
      var request = TalkRequest(name: dialect.name(of: typeURL))
      // Classic sinks name themselves in every message.
      if index == 0 || !dialect.hasControlPlane { request.node = node }
      request.isFirst = true
      if dialect.takesChanges { request.initial = held[typeURL, default: [:]].mapValues(\.version) }
      return request.encoded(dialect)
    }
  }

  /// Reads a response; nothing is taken over before `accept`. Nil: it cannot be read.
  func read(_ message: [UInt8]) -> Answer? {
    guard let response = TalkResponse(message, dialect), let typeURL = dialect.typeURL(of: response.name)
    else { return nil }
    let before = held[typeURL, default: [:]]
    var upserts: [String: HeldObject] = [:]
    for (name, object) in response.objects {
      guard upserts[name] == nil else { return nil }
      upserts[name] = object
    }
    guard !response.isWhole else {
      return Answer(
        typeURL: typeURL, version: response.version, nonce: response.nonce, isWhole: true, upserts: upserts,
        removed: before.keys.filter { upserts[$0] == nil }.sorted(), controlPlane: response.controlPlane,
        before: before, after: upserts, isExact: true)
    }
    var after = before.merging(upserts) { $1 }
    for name in response.removed {
      guard upserts[name] == nil else { return nil }
      after[name] = nil
    }
    return Answer(
      typeURL: typeURL, version: response.version, nonce: response.nonce, isWhole: false, upserts: upserts,
      removed: response.removed, controlPlane: response.controlPlane, before: before, after: after,
      isExact: !mixed.contains(typeURL))
  }

  /// Takes the answer over; the acknowledgement to send.
  mutating func accept(_ answer: Answer) -> [UInt8] {
    held[answer.typeURL] = answer.after
    answered.insert(answer.typeURL)
    acceptedVersions[answer.typeURL] = answer.version
    return reply(answer, refusal: nil)
  }

  /// Leaves everything as it was; the refusal to send.
  mutating func refuse(_ answer: Answer, reason: String) -> [UInt8] {
    if dialect.takesChanges { mixed.insert(answer.typeURL) }
    return reply(answer, refusal: reason)
  }

  private func reply(_ answer: Answer, refusal: String?) -> [UInt8] {
    var request = TalkRequest(name: dialect.name(of: answer.typeURL))
    if !dialect.hasControlPlane { request.node = node }
    request.nonce = answer.nonce
    request.version = acceptedVersions[answer.typeURL, default: ""]
    request.refusal = refusal
    return request.encoded(dialect)
  }
}
