// The objects of a snapshot's file on their way in: admitted by the rules for every object, or set aside alone. A file
// is no more believed than an upstream: names, types and sizes are checked and versions computed anew.

public import Primitives

/// What a file held, admitted.
public struct CarriedSnapshot: Sendable {
  public struct Content: Sendable {
    public let type: TypeName
    /// Where it stands.
    public let position: Position
    public let collection: Collection
    /// Objects of the file that were set aside: what is held of them stays.
    public let setAside: Set<String>
  }

  public let header: ArchiveHeader
  /// In order of types.
  public let contents: [Content]
  public let rejected: [Rejection]
}

/// Builds a `CarriedSnapshot` from what a reader gives.
public struct ArchiveIntake: Sendable {
  private let source: String
  private let limits: Limits
  private let intake: Intake
  private let now: Timestamp
  private var header: ArchiveHeader?
  private var current: ArchiveType?
  private var admitted: [Resource] = []
  private var setAside: Set<String> = []
  private var lastName: String?
  private var contents: [CarriedSnapshot.Content] = []
  private var rejected: [Rejection] = []
  /// Some object is not what the file's writer had: left out, set aside, rewritten, or hashed by other rules.
  private var differs = false

  /// `source`: whose name the objects bear from now on.
  public init(source: String, limits: Limits, intake: Intake, now: Timestamp) {
    self.source = source
    self.limits = limits
    self.intake = intake
    self.now = now
  }

  /// `offset`: where the reader stands, for errors.
  public mutating func take(_ items: [ArchiveItem], offset: Int) throws(ArchiveError) {
    for item in items {
      switch item {
      case .header(let found): header = found
      case .type(let type):
        closeType()
        current = type
      case .resource(let bytes): try admit(bytes, offset)
      }
    }
  }

  /// Call when the reader has found the file whole.
  public mutating func finish(offset: Int) throws(ArchiveError) -> CarriedSnapshot {
    closeType()
    guard let header else { throw .empty }
    let whole = Snapshot(
      collections: Dictionary(contents.map { ($0.type, $0.collection) }) { first, _ in first }, pending: [],
      isComplete: true, position: header.position)
    guard differs || whole.version == header.version else {
      throw .inconsistent(offset: offset, "its content is not the version that its header names")
    }
    return CarriedSnapshot(header: header, contents: contents, rejected: rejected)
  }

  private mutating func closeType() {
    guard let type = current else { return }
    contents.append(
      CarriedSnapshot.Content(
        type: type.type, position: type.position, collection: Collection(admitted), setAside: setAside))
    (current, admitted, setAside, lastName) = (nil, [], [], nil)
  }

  private mutating func admit(_ bytes: [UInt8], _ offset: Int) throws(ArchiveError) {
    guard let type = current?.type else { throw .inconsistent(offset: offset, "an object without a type") }
    let (reader, element) = try ArchiveIntake.element(bytes, offset)
    if let lastName, element.name <= lastName {
      throw .inconsistent(offset: offset, "the objects of \(type) are not in order")
    }
    lastName = element.name
    let reading: ResponseReading
    do {
      reading = try ResponseReading(
        [reader], removed: [], form: .delta,
        ResponseReading.Context(
          type: type, held: .empty, source: source, place: "snapshot of \(header?.node ?? "")",
          wallClock: now,
          limits: limits, intake: intake))
    } catch {
      throw .inconsistent(offset: offset, error.reason)
    }
    admitted += reading.admitted
    rejected += reading.rejected
    setAside.formUnion(reading.rejectedNames)
    if reading.admitted.first?.version.description != element.version { differs = true }
  }

  private static func element(
    _ bytes: [UInt8], _ offset: Int
  ) throws(ArchiveError) -> (ProtobufReader, DeltaElement) {
    do throws(ProtobufError) {
      var reader = ProtobufReader(bytes)
      guard let field = try reader.next(), field.number == 2, reader.remaining == 0 else {
        throw .badTag(offset: 0)
      }
      let inner = try reader.message(field)
      return (inner, try DeltaElement(inner))
    } catch {
      throw .inconsistent(offset: offset, "an object cannot be read: \(error.what)")
    }
  }
}
