// What a relay says of itself in every xDS response: `control_plane.identifier`, as JSON.
//
//   {"node":…,"path":[{"instance":…,"node":…}],"origin":…,"sequence":…,"published":…,"removals":…}
//
// Contract: the field names above. A foreign server writes something else there or nothing; both read
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
  public var position: Position
  /// Why this response removes things; nil when it removes nothing.
  public var removals: RemovalCause?

  /// Longest identifier that is read. Reason: `Position.pathMax` elements of 300 bytes, and some room.
  public static let bytesMax = 16 * 1024

  public init(node: String, position: Position, removals: RemovalCause?) {
    self.node = node
    self.position = position
    self.removals = removals
  }

  public var json: String {
    var writer = JSONWriter()
    writer.object { writer in
      writer.field("node", node)
      writer.field(
        "path",
        array: { writer in
          for element in position.path {
            writer.object { writer in
              writer.field("instance", element.instance)
              writer.field("node", element.node)
            }
          }
        })
      writer.field("origin", position.origin)
      writer.key("sequence")
      writer.raw(String(position.sequence))
      writer.field("published", position.published.rfc3339)
      if let removals { writer.field("removals", removals.rawValue) }
    }
    return writer.text
  }

  /// Nil when this is not the identifier of one of our relays.
  public init?(json text: String) {
    guard text.utf8.count <= ControlPlane.bytesMax, let value = JSONReader.read(text),
      case .object(let fields) = value
    else { return nil }
    guard case .string(let node)? = fields["node"], case .array(let path)? = fields["path"],
      case .string(let origin)? = fields["origin"], case .number(let digits)? = fields["sequence"],
      let sequence = UInt64(digits), case .string(let date)? = fields["published"],
      let published = Timestamp(rfc3339: date)
    else { return nil }
    var elements: [PathElement] = []
    for entry in path {
      guard case .object(let parts) = entry, case .string(let instance)? = parts["instance"],
        case .string(let node)? = parts["node"]
      else { return nil }
      elements.append(PathElement(instance: instance, node: node))
    }
    var removals: RemovalCause?
    if case .string(let cause)? = fields["removals"] { removals = RemovalCause(rawValue: cause) }
    self.init(
      node: node,
      position: Position(origin: origin, sequence: sequence, published: published, path: elements),
      removals: removals)
  }
}
