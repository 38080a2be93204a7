// The messages of every dialect in one form, to and from bytes by generated code.

import Protos
import Snapshots
import SwiftProtobuf

/// What a client says.
struct TalkRequest {
  /// In the dialect's own words.
  let name: String
  /// Nil: not said.
  var node: String?
  var isFirst = false
  var initial: [String: String] = [:]
  var nonce = ""
  /// Of the last good response.
  var version = ""
  var refusal: String?

  init(name: String) { self.name = name }

  private var fault: Google_Rpc_Status? {
    refusal.map { reason in
      .with {
        $0.code = 3
        $0.message = reason
      }
    }
  }

  func encoded(_ dialect: TalkDialect) -> [UInt8] {
    switch dialect {
    case .stateOfTheWorld: stateOfTheWorld
    case .delta: delta
    case .mcp, .mcpIncremental: resourceSource(dialect == .mcpIncremental)
    case .aggregated: aggregated
    case .aggregatedIncremental: aggregatedIncremental
    }
  }

  private var stateOfTheWorld: [UInt8] {
    var request = Envoy_Service_Discovery_V3_DiscoveryRequest()
    request.typeURL = name
    if let node { request.node.id = node }
    request.versionInfo = version
    request.responseNonce = nonce
    if let fault { request.errorDetail = fault }
    return TalkRequest.bytes(request)
  }

  private var delta: [UInt8] {
    var request = Envoy_Service_Discovery_V3_DeltaDiscoveryRequest()
    request.typeURL = name
    if let node { request.node.id = node }
    request.initialResourceVersions = initial
    request.responseNonce = nonce
    if let fault { request.errorDetail = fault }
    return TalkRequest.bytes(request)
  }

  private func resourceSource(_ isIncremental: Bool) -> [UInt8] {
    var request = Istio_Mcp_V1alpha1_RequestResources()
    request.sinkNode.id = node ?? ""
    request.collection = name
    request.initialResourceVersions = initial
    request.responseNonce = nonce
    request.incremental = isIncremental && isFirst
    if let fault { request.errorDetail = fault }
    return TalkRequest.bytes(request)
  }

  private var aggregated: [UInt8] {
    var request = Istio_Mcp_V1alpha1_MeshConfigRequest()
    request.sinkNode.id = node ?? ""
    request.typeURL = name
    request.versionInfo = version
    request.responseNonce = nonce
    if let fault { request.errorDetail = fault }
    return TalkRequest.bytes(request)
  }

  private var aggregatedIncremental: [UInt8] {
    var request = Istio_Mcp_V1alpha1_IncrementalMeshConfigRequest()
    request.sinkNode.id = node ?? ""
    request.typeURL = name
    request.initialResourceVersions = initial
    request.responseNonce = nonce
    if let fault { request.errorDetail = fault }
    return TalkRequest.bytes(request)
  }

  private static func bytes(_ message: some SwiftProtobuf.Message) -> [UInt8] {
    var options = BinaryEncodingOptions()
    // Equal seeds must give equal bytes, and maps have no order of their own.
    options.useDeterministicOrdering = true
    guard let bytes: [UInt8] = try? message.serializedBytes(options: options) else {
      preconditionFailure("a request of the simulation cannot be encoded")
    }
    return bytes
  }
}

/// What a server says. Nil: it cannot be read.
struct TalkResponse {
  let name: String
  let version: String
  let nonce: String
  let isWhole: Bool
  private(set) var objects: [(name: String, object: HeldObject)] = []
  let removed: [String]
  let controlPlane: ControlPlane?

  init?(_ message: [UInt8], _ dialect: TalkDialect) {
    switch dialect {
    case .stateOfTheWorld: self.init(stateOfTheWorld: message)
    case .delta: self.init(delta: message)
    case .mcp, .mcpIncremental: self.init(resources: message, mayChange: dialect == .mcpIncremental)
    case .aggregated: self.init(aggregated: message)
    case .aggregatedIncremental: self.init(incremental: message, name: dialect.name(of: dialect.typeURLs[0]))
    }
  }

  private init?(stateOfTheWorld message: [UInt8]) {
    guard let response = try? Envoy_Service_Discovery_V3_DiscoveryResponse(serializedBytes: message) else {
      return nil
    }
    (name, version, nonce) = (response.typeURL, response.versionInfo, response.nonce)
    (isWhole, removed) = (true, [])
    controlPlane = ControlPlane(json: response.controlPlane.identifier)
    for resource in response.resources {
      guard let object = TalkResponse.object(resource) else { return nil }
      objects.append(object)
    }
  }

  private init?(delta message: [UInt8]) {
    guard let response = try? Envoy_Service_Discovery_V3_DeltaDiscoveryResponse(serializedBytes: message)
    else { return nil }
    (name, version, nonce) = (response.typeURL, response.systemVersionInfo, response.nonce)
    (isWhole, removed) = (false, response.removedResources)
    controlPlane = ControlPlane(json: response.controlPlane.identifier)
    for resource in response.resources {
      guard let object = TalkResponse.object(resource.resource), object.name == resource.name,
        object.object.version == resource.version
      else { return nil }
      objects.append(object)
    }
  }

  /// A sink that did not ask for changes must never get one.
  private init?(resources message: [UInt8], mayChange: Bool) {
    guard let response = try? Istio_Mcp_V1alpha1_Resources(serializedBytes: message),
      mayChange || (!response.incremental && response.removedResources.isEmpty)
    else { return nil }
    (name, version, nonce) = (response.collection, response.systemVersionInfo, response.nonce)
    (isWhole, removed, controlPlane) = (!response.incremental, response.removedResources, nil)
    objects = response.resources.map(TalkResponse.object)
  }

  private init?(aggregated message: [UInt8]) {
    guard let response = try? Istio_Mcp_V1alpha1_MeshConfigResponse(serializedBytes: message) else {
      return nil
    }
    (name, version, nonce) = (response.typeURL, response.versionInfo, response.nonce)
    (isWhole, removed, controlPlane) = (true, [], nil)
    objects = response.resources.map(TalkResponse.object)
  }

  private init?(incremental message: [UInt8], name: String) {
    guard let response = try? Istio_Mcp_V1alpha1_IncrementalMeshConfigResponse(serializedBytes: message)
    else { return nil }
    (self.name, version, nonce) = (name, response.systemVersionInfo, response.nonce)
    (isWhole, removed, controlPlane) = (false, response.removedResources, nil)
    objects = response.resources.map(TalkResponse.object)
  }

  // MARK: objects

  private static func object(_ any: Google_Protobuf_Any) -> (name: String, object: HeldObject)? {
    (try? Istio_Mcp_V1alpha1_Resource(serializedBytes: any.value)).map(object)
  }

  private static func object(_ resource: Istio_Mcp_V1alpha1_Resource) -> (name: String, object: HeldObject) {
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
