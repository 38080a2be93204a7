// Reading the resources of one response: each object is admitted or set aside alone; only what makes
// the response as a whole doubtful (an element that is not protobuf, a name given twice) refuses it.

public import Primitives

/// How a dialect wraps an object.
public enum ElementForm: Sendable {
  /// xDS, state of the world: an Any around the envelope.
  case any
  /// xDS, delta: name, version and the Any.
  case delta
  /// Classic MCP: the envelope alone.
  case envelope
}

/// What a response brings, admitted.
public struct ResponseReading {
  public private(set) var admitted: [Resource] = []
  /// Names to remove, as collections hold them.
  public private(set) var removed: [String] = []
  public private(set) var rejected: [Rejection] = []
  /// Names of objects that were set aside: what is held of them stays.
  public private(set) var rejectedNames: Set<String> = []
  /// An object was set aside whose name could not be read: no absence in this response proves anything.
  public private(set) var hasUnnamed = false

  /// Why a response is refused as a whole.
  public struct Refusal: Error {
    public let reason: String
  }

  /// What admission needs beside the bytes.
  public struct Context {
    public var type: TypeName
    public var held: Collection
    /// Name of the source, borne by its resources.
    public var source: String
    /// The upstream's address, for reports.
    public var place: String
    public var wallClock: Timestamp
    public var limits: Limits
    public var intake: Intake

    public init(
      type: TypeName, held: Collection, source: String, place: String, wallClock: Timestamp,
      limits: Limits, intake: Intake
    ) {
      self.type = type
      self.held = held
      self.source = source
      self.place = place
      self.wallClock = wallClock
      self.limits = limits
      self.intake = intake
    }
  }

  /// An element without what its dialect puts around it.
  private enum Content {
    case nothing
    case payload(EncodedAny)
    case envelope([UInt8])
  }

  public init(
    _ elements: [ProtobufReader], removed: [String], form: ElementForm, _ context: Context
  ) throws(Refusal) {
    var names: Set<String> = []
    let isBare = Kinds[context.type]?.isBare == true
    for (index, element) in elements.enumerated() {
      let (wrapperName, content) = try ResponseReading.open(element, form, index)
      let claimed =
        wrapperName.map { Admission.heldName(of: $0, type: context.type) }
        ?? ResponseReading.claimedName(content, context.type)
      if let claimed, !names.insert(claimed).inserted {
        guard isBare else { throw Refusal(reason: AdmissionError.duplicateName(claimed).what) }
        setAside(claimed, .secondOfItsKind, context)
        continue
      }
      admit(content, wrapperName: wrapperName, claimed: claimed, context)
    }
    self.removed = removed.map { Admission.heldName(of: $0, type: context.type) }
    if let both = self.removed.first(where: { names.contains($0) }) {
      throw Refusal(reason: "\"\(both)\" is both set and removed")
    }
  }

  private static func open(
    _ element: ProtobufReader, _ form: ElementForm, _ index: Int
  ) throws(Refusal) -> (name: String?, content: Content) {
    do {
      switch form {
      case .any: return (nil, .payload(try EncodedAny(element)))
      case .delta:
        let wrapper = try DeltaElement(element)
        return (wrapper.name, wrapper.payload.map { .payload($0) } ?? .nothing)
      case .envelope: return (nil, .envelope(element.rest))
      }
    } catch {
      throw Refusal(reason: "Resource \(index): \(error.what)")
    }
  }

  private static func claimedName(_ content: Content, _ type: TypeName) -> String? {
    switch content {
    case .nothing: nil
    case .payload(let payload): Admission.claimedName(type: type, payload: payload)
    case .envelope(let bytes): Admission.claimedName(type: type, envelope: bytes)
    }
  }

  private mutating func admit(
    _ content: Content, wrapperName: String?, claimed: String?, _ context: Context
  ) {
    let seen = claimed.flatMap { context.held[$0]?.createTime } ?? context.wallClock
    do throws(AdmissionError) {
      let resource: Resource
      switch content {
      case .nothing: throw .missing("content")
      case .payload(let payload):
        resource = try Admission.admit(
          type: context.type, payload: payload, wrapperName: wrapperName, source: context.source,
          seen: seen, limits: context.limits, intake: context.intake)
      case .envelope(let bytes):
        resource = try Admission.admit(
          type: context.type, envelope: bytes, wrapperName: wrapperName, source: context.source,
          seen: seen, limits: context.limits, intake: context.intake)
      }
      if context.intake.leavesOut?(resource) != true { admitted.append(resource) }
    } catch {
      setAside(claimed, error, context)
    }
  }

  private mutating func setAside(_ name: String?, _ error: AdmissionError, _ context: Context) {
    if let name { rejectedNames.insert(name) } else { hasUnnamed = true }
    rejected.append(
      Rejection(
        place: context.place, resource: "\(context.type) \(name ?? "(no readable name)")",
        reason: error.description))
  }
}
