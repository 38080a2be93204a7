// One object of configuration, encoded once when it is admitted and never again.
//
// Its bytes serve three dialects because their encodings nest: the delta element ends with the state
// of the world element, which ends with the classic element (docs/decisions/002-nested-encodings.md).
// The body inside stays the bytes its source sent.

public import Primitives

/// An admitted object. Immutable and shared by every generation and view that holds it.
public final class Resource: Sendable {
  public let type: TypeName
  /// RFC 1123 label; empty for kinds without namespaces.
  public let namespace: String
  public let name: String
  /// How peers name it: `namespace/name`, or `name` alone without a namespace. ASCII.
  public let wireName: String
  /// Hash over body, labels and annotations; equal on every tier.
  public let version: Version
  /// When the object was created, or first seen by its origin. Not part of `version`.
  public let createTime: Timestamp
  /// Sorted by key, each key once.
  public let labels: [(key: String, value: String)]
  /// Name of the source it came from.
  public let source: String
  /// Full name of the body's protobuf message: `istio.networking.v1alpha3.VirtualService`.
  public let bodyMessage: String
  /// Its encoded bytes.
  public let segment: Segment
  /// What the segment points into. Objects that were read from a store together share one.
  public let slab: Slab
  private let bodyByteCount: Int
  /// Where in the segment the annotations begin; 0: there are none.
  private let annotationsStart: Int

  /// Encodes an object that `Admission` found in order.
  init(_ draft: ResourceDraft, type: TypeName, wireName: String, version: Version, isBare: Bool) {
    self.type = type
    namespace = draft.namespace
    name = draft.name
    self.wireName = wireName
    self.version = version
    createTime = draft.createTime
    labels = draft.labels
    source = draft.source
    bodyMessage = draft.bodyMessage
    bodyByteCount = draft.body.count
    let encoded = ResourceEncoding(draft, wireName: wireName, version: version.description, isBare: isBare)
    slab = Slab(encoded.bytes)
    segment = slab.segment(
      offset: 0, count: encoded.bytes.count, inner: encoded.inner, core: encoded.core)
    annotationsStart = encoded.annotations
  }

  /// One whose encoding lies in a slab already, as `layout` found it there.
  init(
    _ layout: ElementLayout, type: TypeName, namespace: String, name: String, wireName: String,
    labels: [(key: String, value: String)], bodyMessage: String, source: String, _ segment: Segment,
    _ slab: Slab
  ) {
    self.type = type
    self.namespace = namespace
    self.name = name
    self.wireName = wireName
    version = layout.version
    createTime = layout.createTime
    self.labels = labels
    self.source = source
    self.bodyMessage = bodyMessage
    bodyByteCount = layout.body.count
    annotationsStart = layout.annotations.isEmpty ? 0 : layout.annotations.lowerBound
    self.segment = segment
    self.slab = slab
  }

  /// The body alone, copied.
  public var body: [UInt8] {
    unsafe slab.withBytes(of: segment) { unsafe Array($0.suffix(bodyByteCount)) }
  }

  /// Sorted by key, each key once. Read from the encoding whenever asked for: nobody asks often, and they may be as
  /// large as the body.
  public var annotations: [(key: String, value: String)] {
    guard annotationsStart > 0 else { return [] }
    return unsafe slab.withBytes(of: segment) { bytes in
      unsafe ElementLayout.pairs(bytes, annotationsStart..<bytes.count, tag: ElementLayout.annotationTag)
        ?? []
    }
  }

  /// The whole element as the delta dialect carries it, tag and length included. Copied: for tests and stores.
  public var encoded: [UInt8] {
    unsafe slab.withBytes(of: segment) { unsafe Array($0) }
  }

  /// Bytes this object takes on the wire at most.
  public var byteCount: Int { Int(segment.count) }

  /// Whether `other` is the same in everything that anyone can see, its source included.
  public func isInterchangeable(with other: Resource) -> Bool {
    self === other
      || (version == other.version && createTime == other.createTime && source == other.source
        && wireName == other.wireName && type == other.type)
  }
}

/// An object on its way to admission: what its source says, unchecked.
public struct ResourceDraft: Sendable {
  public var namespace: String
  public var name: String
  /// In any order; a key given twice is refused.
  public var labels: [(key: String, value: String)]
  public var annotations: [(key: String, value: String)]
  public var createTime: Timestamp
  /// Full message name of the body, without a host prefix.
  public var bodyMessage: String
  public var body: [UInt8]
  /// Name of the source.
  public var source: String

  public init(
    namespace: String, name: String, labels: [(key: String, value: String)] = [],
    annotations: [(key: String, value: String)] = [], createTime: Timestamp, bodyMessage: String,
    body: [UInt8], source: String
  ) {
    self.namespace = namespace
    self.name = name
    self.labels = labels
    self.annotations = annotations
    self.createTime = createTime
    self.bodyMessage = bodyMessage
    self.body = body
    self.source = source
  }
}

/// The one encoding of a resource:
///
///     12 len ─ 1a len name ─ 0a len version ─ 12 len ─ 0a len type URL ─ 12 len ─ MCP Resource
///     │                                       │                         └ core: element of classic MCP
///     │                                       └ inner: element of a DiscoveryResponse (an Any)
///     └ whole: element of a DeltaDiscoveryResponse (a discovery Resource)
///
/// All three are field 2 of their message, so each begins with the same tag.
struct ResourceEncoding {
  private(set) var bytes: [UInt8]
  /// 0 ≤ inner ≤ core ≤ bytes.count.
  private(set) var inner: Int
  private(set) var core: Int
  /// Where the annotations begin; 0: there are none.
  private(set) var annotations = 0

  static let anyPrefix = "type.googleapis.com/"
  static let envelopeURL = anyPrefix + "istio.mcp.v1alpha1.Resource"

  init(_ draft: ResourceDraft, wireName: String, version: String, isBare: Bool) {
    let bodyURL = ResourceEncoding.anyPrefix + draft.bodyMessage
    let url = isBare ? bodyURL : ResourceEncoding.envelopeURL
    let (metadata, annotationBytes) =
      isBare ? ([], 0) : ResourceEncoding.metadata(draft, wireName: wireName, version: version)
    let bodyField = draft.body.isEmpty ? 0 : ProtobufWriter.fieldBytes(draft.body.count)
    let bodyAny = ProtobufWriter.fieldBytes(bodyURL.utf8.count) + bodyField
    let envelope = ProtobufWriter.fieldBytes(metadata.count) + ProtobufWriter.fieldBytes(bodyAny)
    let payload = isBare ? bodyField : ProtobufWriter.fieldBytes(envelope)
    let any = ProtobufWriter.fieldBytes(url.utf8.count) + payload
    let element =
      ProtobufWriter.fieldBytes(wireName.utf8.count) + ProtobufWriter.fieldBytes(version.utf8.count)
      + ProtobufWriter.fieldBytes(any)

    var writer = ProtobufWriter(reserving: ProtobufWriter.fieldBytes(element))
    writer.header(2, byteCount: element)
    writer.string(3, wireName)
    writer.string(1, version)
    inner = writer.bytes.count
    writer.header(2, byteCount: any)
    writer.string(1, url)
    core = writer.bytes.count
    if !isBare {
      writer.header(2, byteCount: envelope)
      writer.message(1, metadata)
      if annotationBytes > 0 { annotations = writer.bytes.count - annotationBytes }
      writer.header(2, byteCount: bodyAny)
      writer.string(1, bodyURL)
    }
    writer.data(2, draft.body)
    bytes = writer.bytes
    // A bare body has no classic form: its classic suffix is empty.
    if isBare { core = bytes.count }
    precondition(
      bytes.count == ProtobufWriter.fieldBytes(element), "an encoded resource has the size announced in it")
  }

  /// The metadata, which ends with the annotations, and how many bytes these take.
  private static func metadata(
    _ draft: ResourceDraft, wireName: String, version: String
  ) -> (bytes: [UInt8], annotationBytes: Int) {
    var writer = ProtobufWriter()
    writer.string(1, wireName)
    writer.message(2) { time in
      time.integer(1, draft.createTime.seconds)
      time.integer(2, Int64(draft.createTime.nanoseconds))
    }
    writer.string(3, version)
    writer.map(4, draft.labels)
    let before = writer.bytes.count
    writer.map(5, draft.annotations)
    return (writer.bytes, writer.bytes.count - before)
  }
}
