// The way back from a store: an object that was admitted once and whose encoded bytes were kept.
//
// The bytes are our own (`Resource.encoded`) and proven by whoever kept them; the rules of admission
// held when they were written and are not asked again. The version is read, not computed: it may rest on a
// descriptor that is not at hand here, and a client that holds it must find it again after a restart.

internal import Primitives

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
