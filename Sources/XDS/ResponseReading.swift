// Reading the resources of one response: each object is admitted or set aside alone; only what makes
// the response as a whole doubtful (an element that is not protobuf, a name given twice) refuses it.

internal import Primitives
internal import Snapshots

/// What a response brings, admitted.
struct ResponseReading {
  private(set) var admitted: [Resource] = []
  /// Delta: names to remove, as collections hold them.
  private(set) var removed: [String] = []
  private(set) var rejected: [Rejection] = []
  /// Names of objects that were set aside: what is held of them stays.
  private(set) var rejectedNames: Set<String> = []
  /// An object was set aside whose name could not be read: no absence in this response proves anything.
  private(set) var hasUnnamed = false

  /// Why a response is refused as a whole.
  struct Refusal: Error {
    let reason: String
  }

  /// What admission needs beside the bytes.
  struct Context {
    let type: TypeName
    let held: Collection
    let source: String
    let place: String
    let wallClock: Timestamp
    let limits: Limits
    let canonicalize: BodyCanonicalizer?
  }

  init(_ response: ReceivedResponse, dialect: ADSDialect, _ context: Context) throws(Refusal) {
    var names: Set<String> = []
    let isBare = Kinds[context.type]?.isBare == true
    for (index, element) in response.elements.enumerated() {
      let (wrapperName, payload) = try ResponseReading.open(element, dialect, index)
      let claimed =
        wrapperName.map { Admission.heldName(of: $0, type: context.type) }
        ?? payload.flatMap { Admission.claimedName(type: context.type, payload: $0) }
      if let claimed, !names.insert(claimed).inserted {
        guard isBare else { throw Refusal(reason: AdmissionError.duplicateName(claimed).what) }
        setAside(claimed, .secondOfItsKind, context)
        continue
      }
      admit(payload, wrapperName: wrapperName, claimed: claimed, context)
    }
    removed = response.removed.map { Admission.heldName(of: $0, type: context.type) }
    if let both = removed.first(where: { names.contains($0) }) {
      throw Refusal(reason: "\"\(both)\" is both set and removed")
    }
  }

  private static func open(
    _ element: ProtobufReader, _ dialect: ADSDialect, _ index: Int
  ) throws(Refusal) -> (name: String?, payload: EncodedAny?) {
    do {
      switch dialect {
      case .stateOfTheWorld: return (nil, try EncodedAny(element))
      case .delta:
        let wrapper = try DeltaElement(element)
        return (wrapper.name, wrapper.payload)
      }
    } catch {
      throw Refusal(reason: "Resource \(index): \(error.what)")
    }
  }

  private mutating func admit(
    _ payload: EncodedAny?, wrapperName: String?, claimed: String?, _ context: Context
  ) {
    guard let payload else { return setAside(claimed, .missing("content"), context) }
    do throws(AdmissionError) {
      let seen = claimed.flatMap { context.held[$0]?.createTime } ?? context.wallClock
      admitted.append(
        try Admission.admit(
          type: context.type, payload: payload, wrapperName: wrapperName, source: context.source,
          seen: seen, limits: context.limits, canonicalize: context.canonicalize))
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
