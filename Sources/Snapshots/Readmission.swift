// The way back from a store: an object that was admitted once and whose encoded bytes were kept.
//
// The bytes are our own (`Resource.encoded`) and proven by whoever kept them; the rules of admission
// held when they were written and are not asked again. The version is read, not computed: it may rest on a
// descriptor that is not at hand here, and a client that holds it must find it again after a restart.

public import Primitives

extension Admission {
  /// Rebuilds an object from `Resource.encoded`. Throws when the bytes are not such an encoding.
  public static func readmit(
    type: TypeName, encoded: [UInt8], source: String
  ) throws(AdmissionError) -> Resource {
    let element: DeltaElement
    do throws(ProtobufError) {
      var reader = ProtobufReader(encoded)
      guard let field = try reader.next(), field.number == 2, reader.remaining == 0 else {
        throw .badTag(offset: 0)
      }
      element = try DeltaElement(reader.message(field))
    } catch {
      throw .malformed(error)
    }
    guard let version = Version(parsing: element.version) else { throw .missing("version") }
    guard let payload = element.payload else { throw .missing("payload") }
    let isBare = Kinds[type]?.isBare == true
    let draft = isBare ? bare(payload, source) : try draft(payload, element.name, type: type, source)
    return Resource(draft, type: type, wireName: element.name, version: version, isBare: isBare)
  }

  private static func bare(_ payload: EncodedAny, _ source: String) -> ResourceDraft {
    ResourceDraft(
      namespace: "", name: Kind.bareName, createTime: Timestamp(seconds: 0),
      bodyMessage: payload.messageName, body: payload.value, source: source)
  }

  private static func draft(
    _ payload: EncodedAny, _ wireName: String, type: TypeName, _ source: String
  ) throws(AdmissionError) -> ResourceDraft {
    let envelope: MCPEnvelope
    do {
      envelope = try MCPEnvelope(ProtobufReader(payload.value))
    } catch {
      throw .malformed(error)
    }
    guard let metadata = envelope.metadata else { throw .missing("metadata") }
    guard let body = envelope.body else { throw .missing("body") }
    guard metadata.name == wireName else {
      throw .namesDisagree(wrapper: wireName, metadata: metadata.name)
    }
    guard metadata.hasTime else { throw .missing("creation time") }
    let (namespace, name) = try split(wireName, isClusterScoped: Kinds[type]?.isClusterScoped)
    return ResourceDraft(
      namespace: namespace, name: name, labels: metadata.labels, annotations: metadata.annotations,
      createTime: try metadata.time(else: Timestamp(seconds: 0)), bodyMessage: body.messageName,
      body: body.value, source: source)
  }
}

/// Rebuilds objects whose encodings lie in one slab: none of them is copied, and text that neighbours have in common
/// is kept once.
public struct Readmission {
  private let type: TypeName
  private let slab: Slab
  private let kind: Kind?
  private var namespace = ""
  private var bodyMessage = ""

  public init(type: TypeName, slab: Slab) {
    self.type = type
    self.slab = slab
    kind = Kinds[type]
  }

  /// The object encoded in these bytes of the slab, whose wire name must be `name`. Throws when they are not such an
  /// encoding.
  public mutating func readmit(
    _ range: Range<Int>, name: String, source: String
  ) throws(AdmissionError) -> Resource {
    if kind?.isBare != true, let resource = unaltered(range, name, source) { return resource }
    let encoded = unsafe slab.withBytes { unsafe Array($0[range]) }
    let resource = try Admission.readmit(type: type, encoded: encoded, source: source)
    guard resource.wireName == name else {
      throw .namesDisagree(wrapper: name, metadata: resource.wireName)
    }
    return resource
  }

  /// Nil when the bytes, or the name, are not what they are usually.
  private mutating func unaltered(_ range: Range<Int>, _ name: String, _ source: String) -> Resource? {
    unsafe slab.withBytes { all -> Resource? in
      let bytes = unsafe UnsafeRawBufferPointer(rebasing: all[range])
      guard let layout = unsafe ElementLayout(bytes), unsafe ByteRun(bytes, layout.name).isEqual(to: name),
        let parts = unsafe split(bytes, layout.name),
        let labels = unsafe ElementLayout.pairs(bytes, layout.labels, tag: ElementLayout.labelTag),
        unsafe Readmission.take(bytes, parts.namespace, into: &namespace),
        unsafe Readmission.take(bytes, layout.bodyMessage, into: &bodyMessage)
      else { return nil }
      let own: String
      if parts.namespace.isEmpty {
        own = name
      } else if let text = unsafe String(validating: bytes[parts.name], as: UTF8.self) {
        own = text
      } else {
        return nil
      }
      let segment = slab.segment(
        offset: range.lowerBound, count: range.count, inner: layout.inner, core: layout.core)
      return Resource(
        layout, type: type, namespace: namespace, name: own, wireName: name, labels: labels,
        bodyMessage: bodyMessage, source: source, segment, slab)
    }
  }

  /// Namespace and name within a wire name, as `Admission.split` takes it apart; nil where that refuses it.
  private func split(
    _ bytes: UnsafeRawBufferPointer, _ range: Range<Int>
  ) -> (namespace: Range<Int>, name: Range<Int>)? {
    let slash = UInt8(ascii: "/")
    guard let at = unsafe ByteRun(bytes, range).firstIndex(of: slash) else {
      return kind?.isClusterScoped == false ? nil : (range.lowerBound..<range.lowerBound, range)
    }
    // An empty namespace is for the careful way.
    guard at > range.lowerBound, unsafe ByteRun(bytes, at + 1..<range.upperBound).firstIndex(of: slash) == nil
    else {
      return nil
    }
    return (range.lowerBound..<at, at + 1..<range.upperBound)
  }

  /// Makes `text` these bytes, and leaves it alone when it is. False when they are not UTF-8.
  private static func take(
    _ bytes: UnsafeRawBufferPointer, _ range: Range<Int>, into text: inout String
  ) -> Bool {
    if unsafe ByteRun(bytes, range).isEqual(to: text) { return true }
    guard let fresh = unsafe String(validating: bytes[range], as: UTF8.self) else { return false }
    text = fresh
    return true
  }
}
