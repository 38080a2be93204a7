// The client's side of one discovery stream, without I/O: written from the protocol and on generated
// messages, so that a misunderstanding shared by both sides of `XDS` is not shared by its judge.
// Source: envoy.service.discovery.v3, "Aggregated Discovery Service"; istio.mcp.v1alpha1.Resource.

import Primitives
import Protos
import Snapshots
import SwiftProtobuf
import XDS

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
  /// False after a refusal in the delta dialect: what is held then is of several moments.
  let isExact: Bool
}

/// One stream.
struct DiscoveryTalk {
  let dialect: ADSDialect
  let node: String
  /// Holds everything of what was accepted, over streams.
  private(set) var held: [String: [String: HeldObject]]
  private var acceptedVersions: [String: String] = [:]
  private var mixed: Set<String> = []
  /// Types that were answered on this stream.
  private(set) var answered: Set<String> = []

  /// A type nobody has: answered empty, and only when that is certain.
  static let unknownTypeURL = "example.org/v1/Nothing"
  static let typeURLs = SimulatedKind.allCases.map(\.typeURL) + [unknownTypeURL]

  init(dialect: ADSDialect, node: String, held: [String: [String: HeldObject]]) {
    self.dialect = dialect
    self.node = node
    self.held = held
  }

  var firstRequests: [[UInt8]] {
    DiscoveryTalk.typeURLs.enumerated().map { index, typeURL in
      switch dialect {
      case .stateOfTheWorld:
        var request = Envoy_Service_Discovery_V3_DiscoveryRequest()
        request.typeURL = typeURL
        if index == 0 { request.node.id = node }
        return DiscoveryTalk.bytes(request)
      case .delta:
        var request = Envoy_Service_Discovery_V3_DeltaDiscoveryRequest()
        request.typeURL = typeURL
        if index == 0 { request.node.id = node }
        request.initialResourceVersions = held[typeURL, default: [:]].mapValues(\.version)
        return DiscoveryTalk.bytes(request)
      }
    }
  }

  /// Reads a response; nothing is taken over before `accept`. Nil: it cannot be read.
  func read(_ message: [UInt8]) -> Answer? {
    switch dialect {
    case .stateOfTheWorld:
      guard let response = try? Envoy_Service_Discovery_V3_DiscoveryResponse(serializedBytes: message)
      else { return nil }
      var set: [String: HeldObject] = [:]
      for resource in response.resources {
        guard let (name, object) = DiscoveryTalk.object(resource), set[name] == nil else { return nil }
        set[name] = object
      }
      let before = held[response.typeURL, default: [:]]
      return Answer(
        typeURL: response.typeURL, version: response.versionInfo, nonce: response.nonce, isWhole: true,
        upserts: set, removed: before.keys.filter { set[$0] == nil }.sorted(),
        controlPlane: ControlPlane(json: response.controlPlane.identifier), before: before, after: set,
        isExact: true)
    case .delta:
      guard let response = try? Envoy_Service_Discovery_V3_DeltaDiscoveryResponse(serializedBytes: message)
      else { return nil }
      return read(response)
    }
  }

  private func read(_ response: Envoy_Service_Discovery_V3_DeltaDiscoveryResponse) -> Answer? {
    let before = held[response.typeURL, default: [:]]
    var after = before
    var upserts: [String: HeldObject] = [:]
    for resource in response.resources {
      guard let (name, object) = DiscoveryTalk.object(resource.resource), upserts[name] == nil,
        name == resource.name, object.version == resource.version
      else { return nil }
      upserts[name] = object
      after[name] = object
    }
    for name in response.removedResources {
      guard upserts[name] == nil else { return nil }
      after[name] = nil
    }
    return Answer(
      typeURL: response.typeURL, version: response.systemVersionInfo, nonce: response.nonce,
      isWhole: false, upserts: upserts, removed: response.removedResources,
      controlPlane: ControlPlane(json: response.controlPlane.identifier), before: before, after: after,
      isExact: !mixed.contains(response.typeURL))
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
    if dialect == .delta { mixed.insert(answer.typeURL) }
    return reply(answer, refusal: reason)
  }

  private func reply(_ answer: Answer, refusal: String?) -> [UInt8] {
    switch dialect {
    case .stateOfTheWorld:
      var request = Envoy_Service_Discovery_V3_DiscoveryRequest()
      request.typeURL = answer.typeURL
      request.versionInfo = acceptedVersions[answer.typeURL, default: ""]
      request.responseNonce = answer.nonce
      if let refusal {
        request.errorDetail.code = 3
        request.errorDetail.message = refusal
      }
      return DiscoveryTalk.bytes(request)
    case .delta:
      var request = Envoy_Service_Discovery_V3_DeltaDiscoveryRequest()
      request.typeURL = answer.typeURL
      request.responseNonce = answer.nonce
      if let refusal {
        request.errorDetail.code = 3
        request.errorDetail.message = refusal
      }
      return DiscoveryTalk.bytes(request)
    }
  }

  // MARK: messages

  private static func bytes(_ message: some SwiftProtobuf.Message) -> [UInt8] {
    var options = BinaryEncodingOptions()
    // Equal seeds must give equal bytes, and maps have no order of their own.
    options.useDeterministicOrdering = true
    guard let bytes: [UInt8] = try? message.serializedBytes(options: options) else {
      preconditionFailure("a request of the simulation cannot be encoded")
    }
    return bytes
  }

  private static func object(_ any: Google_Protobuf_Any) -> (name: String, HeldObject)? {
    guard let resource = try? Istio_Mcp_V1alpha1_Resource(serializedBytes: any.value) else { return nil }
    let metadata = resource.metadata
    let labelled = metadata.labels["revision"].flatMap { Int($0) }
    let told = revision(inBody: Array(resource.body.value))
    return (
      metadata.name, HeldObject(version: metadata.version, revision: labelled == told ? labelled : nil)
    )
  }

  /// Field 1 of every simulated body is the host `r<revision>.example`.
  private static func revision(inBody body: [UInt8]) -> Int? {
    guard body.count > 2, body[0] == 0x0A, body.count >= 2 + Int(body[1]) else { return nil }
    let host = String(decoding: body[2..<2 + Int(body[1])], as: UTF8.self)
    guard host.hasPrefix("r"), host.hasSuffix(".example") else { return nil }
    return Int(host.dropFirst().dropLast(".example".count))
  }
}
