// The envelope in which a peer sends an object, decoded into a draft for admission.
//
// Strict where two decoders could disagree: a singular field or a map key that occurs twice, text that
// is not UTF-8, a field in a wrong wire type. Unknown fields are ignored and not passed on.
// Source: istio.mcp.v1alpha1 Resource and Metadata, google.protobuf Any and Timestamp,
// envoy.service.discovery.v3 Resource.

public import Primitives

/// A google.protobuf.Any whose value is still encoded.
public struct EncodedAny: Sendable, Equatable {
  public var typeURL: String
  public var value: [UInt8]

  public init(typeURL: String, value: [UInt8]) {
    self.typeURL = typeURL
    self.value = value
  }

  public init(_ reader: ProtobufReader) throws(ProtobufError) {
    var reader = reader
    self.init(typeURL: "", value: [])
    while let field = try reader.next() {
      switch field.number {
      case 1:
        try reader.once(field)
        typeURL = try reader.string(field)
      case 2:
        try reader.once(field)
        value = try reader.bytes(field)
      default: break
      }
    }
  }

  /// The message name: what follows the last slash. Receivers compare nothing else.
  public var messageName: String {
    let parts = typeURL.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
    return parts.last.flatMap { String($0) } ?? ""
  }
}

/// An element of a DeltaDiscoveryResponse.
public struct DeltaElement: Sendable, Equatable {
  public var name = ""
  public var version = ""
  public var payload: EncodedAny?

  public init(_ reader: ProtobufReader) throws(ProtobufError) {
    var reader = reader
    while let field = try reader.next() {
      switch field.number {
      case 1:
        try reader.once(field)
        version = try reader.string(field)
      case 2:
        try reader.once(field)
        payload = try EncodedAny(reader.message(field))
      case 3:
        try reader.once(field)
        name = try reader.string(field)
      default: break
      }
    }
  }
}

extension Admission {
  /// Admits what a peer sent as `payload` for a type. `wrapperName` is the name the delta dialect
  /// repeats outside the payload; `seen` is used where the peer gives no creation time.
  public static func admit(
    type: TypeName, payload: EncodedAny, wrapperName: String?, source: String, seen: Timestamp,
    limits: Limits, intake: Intake = Intake()
  ) throws(AdmissionError) -> Resource {
    guard payload.value.count <= limits.resourceBytes else {
      throw .tooLarge(bytes: payload.value.count, limit: limits.resourceBytes)
    }
    if Kinds[type]?.isBare == true {
      let bare = ResourceDraft(
        namespace: "", name: "", createTime: seen, bodyMessage: payload.messageName,
        body: payload.value, source: source)
      return try admit(type: type, draft: bare, limits: limits, intake: intake)
    }
    guard payload.messageName == "istio.mcp.v1alpha1.Resource" else {
      throw .wrongBody(expected: "istio.mcp.v1alpha1.Resource", found: payload.messageName)
    }
    return try admit(
      type: type, envelope: payload.value, wrapperName: wrapperName, source: source, seen: seen,
      limits: limits, intake: intake)
  }

  /// Admits an encoded istio.mcp.v1alpha1.Resource: what classic MCP carries, and the xDS payload.
  public static func admit(
    type: TypeName, envelope: [UInt8], wrapperName: String?, source: String, seen: Timestamp,
    limits: Limits, intake: Intake = Intake()
  ) throws(AdmissionError) -> Resource {
    guard envelope.count <= limits.resourceBytes else {
      throw .tooLarge(bytes: envelope.count, limit: limits.resourceBytes)
    }
    let decoded: MCPEnvelope
    do {
      decoded = try MCPEnvelope(ProtobufReader(envelope))
    } catch {
      throw .malformed(error)
    }
    guard let metadata = decoded.metadata else { throw .missing("metadata") }
    guard let body = decoded.body else { throw .missing("body") }
    let wireName = heldName(of: metadata.name, type: type)
    if let wrapperName {
      guard heldName(of: wrapperName, type: type) == wireName else {
        throw .namesDisagree(wrapper: wrapperName, metadata: metadata.name)
      }
    }
    let (namespace, name) = try split(wireName, isClusterScoped: Kinds[type]?.isClusterScoped)
    let draft = ResourceDraft(
      namespace: namespace, name: name, labels: metadata.labels, annotations: metadata.annotations,
      createTime: try metadata.time(else: seen), bodyMessage: body.messageName, body: body.value,
      source: source)
    return try admit(type: type, draft: draft, limits: limits, intake: intake)
  }

  /// The name an xDS payload gives itself, readable even where the object will be set aside; nil when
  /// not even that can be read.
  public static func claimedName(type: TypeName, payload: EncodedAny) -> String? {
    claimedName(type: type, envelope: payload.value)
  }

  /// The same of an encoded istio.mcp.v1alpha1.Resource.
  public static func claimedName(type: TypeName, envelope: [UInt8]) -> String? {
    if Kinds[type]?.isBare == true { return Kind.bareName }
    guard let name = try? MCPEnvelope(ProtobufReader(envelope)).metadata?.name, !name.isEmpty else {
      return nil
    }
    return heldName(of: name, type: type)
  }

  static func split(
    _ wireName: String, isClusterScoped: Bool?
  ) throws(AdmissionError) -> (namespace: String, name: String) {
    let parts = wireName.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
    switch (parts.count, isClusterScoped) {
    case (1, true?), (1, nil): return ("", wireName)
    case (2, _): return (String(parts[0]) ?? "", String(parts[1]) ?? "")
    default: throw .badWireName(wireName)
    }
  }
}

/// istio.mcp.v1alpha1.Resource.
struct MCPEnvelope {
  var metadata: MCPMetadata?
  var body: EncodedAny?

  init(_ reader: ProtobufReader) throws(ProtobufError) {
    var reader = reader
    while let field = try reader.next() {
      switch field.number {
      case 1:
        try reader.once(field)
        metadata = try MCPMetadata(reader.message(field))
      case 2:
        try reader.once(field)
        body = try EncodedAny(reader.message(field))
      default: break
      }
    }
  }
}

/// istio.mcp.v1alpha1.Metadata. Its `version` is not read: ours is computed from the content.
struct MCPMetadata {
  var name = ""
  var seconds: Int64 = 0
  var nanoseconds: Int64 = 0
  var hasTime = false
  var labels: [(key: String, value: String)] = []
  var annotations: [(key: String, value: String)] = []

  init(_ reader: ProtobufReader) throws(ProtobufError) {
    var reader = reader
    while let field = try reader.next() {
      switch field.number {
      case 1:
        try reader.once(field)
        name = try reader.string(field)
      case 2:
        try reader.once(field)
        try readTime(reader.message(field))
      case 3: try reader.once(field)
      case 4: labels.append(try ProtobufReader.mapEntry(reader.message(field)))
      case 5: annotations.append(try ProtobufReader.mapEntry(reader.message(field)))
      default: break
      }
    }
  }

  private mutating func readTime(_ reader: ProtobufReader) throws(ProtobufError) {
    var reader = reader
    hasTime = true
    while let field = try reader.next() {
      switch field.number {
      case 1:
        try reader.once(field)
        seconds = Int64(bitPattern: try reader.integer(field))
      case 2:
        try reader.once(field)
        nanoseconds = Int64(bitPattern: try reader.integer(field))
      default: break
      }
    }
  }

  /// Go's zero time, the first second of the year 1: what Galley writes where there is no time.
  static let goZeroSeconds: Int64 = -62_135_596_800

  func time(else seen: Timestamp) throws(AdmissionError) -> Timestamp {
    guard hasTime, seconds != MCPMetadata.goZeroSeconds || nanoseconds != 0 else { return seen }
    guard let nanoseconds = Int32(exactly: nanoseconds) else {
      throw .badTime(seconds: seconds, nanoseconds: nanoseconds)
    }
    return Timestamp(seconds: seconds, nanoseconds: nanoseconds)
  }
}

extension ProtobufReader {
  /// An entry of a map<string, string>.
  public static func mapEntry(
    _ reader: ProtobufReader
  ) throws(ProtobufError) -> (key: String, value: String) {
    var reader = reader
    var entry = (key: "", value: "")
    while let field = try reader.next() {
      switch field.number {
      case 1:
        try reader.once(field)
        entry.key = try reader.string(field)
      case 2:
        try reader.once(field)
        entry.value = try reader.string(field)
      default: break
      }
    }
    return entry
  }
}
