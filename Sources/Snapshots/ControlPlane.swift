// What a relay says of itself in every xDS response: `control_plane.identifier`, as JSON.
//
//   {"node":…,"path":[{"instance":…,"node":…}],"origin":…,"sequence":…,"published":…,"removals":…,
//    "content":{"origin":…,"sequence":…,"published":…},"partial":true}
//
// Contract: the field names of the first line. `content` says where the content of this one type stands, when
// that is not where the whole stands (docs/decisions/006-positions-per-type.md). A foreign server writes something else there or nothing; both read
// as nil. Reading is bounded, since the text comes from a peer.

internal import Primitives

/// Why resources that a client had are gone from what it is served.
public enum RemovalCause: String, Sendable, CaseIterable {
  /// A grant ended. Never braked, and erased from history.
  case policy
  /// A source removed them, a brake held that, and an operator let it pass.
  case released
  /// A source removed them.
  case source
}

/// The identifier of one of our own relays.
public struct ControlPlane: Sendable, Equatable {
  public var node: String
  /// Where this relay stands as a whole: the newest it has heard.
  public var position: Position
  /// Where the content of the response's type stands: it is what the origin had there. Shares the path.
  public var content: Position
  /// More follows before the type is what it is at `content`.
  public var isPartial: Bool
  /// Why this response removes things; nil when it removes nothing.
  public var removals: RemovalCause?

  /// Longest identifier that is read. Reason: `Position.pathMax` elements of 300 bytes, and some room.
  public static let bytesMax = 16 * 1024

  /// Without `content` the type stands where the whole does.
  public init(
    node: String, position: Position, content: Position? = nil, isPartial: Bool = false,
    removals: RemovalCause?
  ) {
    self.node = node
    self.position = position
    self.content = content ?? position
    self.isPartial = isPartial
    self.removals = removals
  }

  public var json: String {
    var writer = JSONWriter()
    writer.object { writer in
      writer.field("node", node)
      writer.field(
        "path",
        array: { writer in
          for element in content.path {
            writer.object { writer in
              writer.field("instance", element.instance)
              writer.field("node", element.node)
            }
          }
        })
      writer.place(position)
      if let removals { writer.field("removals", removals.rawValue) }
      if !content.isSamePlace(as: position) {
        writer.field("content", object: { $0.place(content) })
      }
      if isPartial { writer.field("partial", true) }
    }
    return writer.text
  }

  /// Nil when this is not the identifier of one of our relays.
  public init?(json text: String) {
    guard text.utf8.count <= ControlPlane.bytesMax, let value = JSONReader.read(text),
      case .object(let fields) = value, case .string(let node)? = fields["node"],
      let path = ControlPlane.path(fields["path"]), let position = Position(fields, path: path)
    else { return nil }
    var content: Position?
    if let told = fields["content"] {
      guard case .object(let fields) = told, let place = Position(fields, path: path) else { return nil }
      content = place
    }
    var removals: RemovalCause?
    if case .string(let cause)? = fields["removals"] { removals = RemovalCause(rawValue: cause) }
    self.init(
      node: node, position: position, content: content, isPartial: fields["partial"] == .boolean(true),
      removals: removals)
  }

  private static func path(_ value: JSONValue?) -> [PathElement]? {
    guard case .array(let entries)? = value else { return nil }
    var elements: [PathElement] = []
    for entry in entries {
      guard case .object(let parts) = entry, case .string(let instance)? = parts["instance"],
        case .string(let node)? = parts["node"]
      else { return nil }
      elements.append(PathElement(instance: instance, node: node))
    }
    return elements
  }
}

extension Position {
  /// The three members of an identifier that make a place in the history of an origin.
  fileprivate init?(_ fields: [String: JSONValue], path: [PathElement]) {
    guard case .string(let origin)? = fields["origin"], case .number(let digits)? = fields["sequence"],
      let sequence = UInt64(digits), case .string(let date)? = fields["published"],
      let published = Timestamp(rfc3339: date)
    else { return nil }
    self.init(origin: origin, sequence: sequence, published: published, path: path)
  }

  /// The same moment of the same origin, by whatever path.
  func isSamePlace(as other: Position) -> Bool {
    origin == other.origin && sequence == other.sequence && published == other.published
  }
}

extension JSONWriter {
  fileprivate mutating func place(_ position: Position) {
    field("origin", position.origin)
    key("sequence")
    raw(String(position.sequence))
    field("published", position.published.rfc3339)
  }
}
