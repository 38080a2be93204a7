// Short host names made whole: `reviews` in namespace `prod` becomes `reviews.prod.svc.cluster.local`.
//
// An istiod completes short names of objects that came from Kubernetes or a file, and not of those that came by
// MCP: there `reviews` means `reviews.prod` and matches nothing. Which fields are completed, and which names
// count as short, is istiod's own rule (its name resolution of VirtualService and DestinationRule), with the
// destinations of a Sidecar beside them. Everything else in a body stays as it is, byte for byte.
// Works on the wire format by field number, so it needs no descriptor. Must never trap on any input.

internal import Primitives

/// Completes short host names with the domain of a cluster.
public struct ShortHosts: Sendable {
  /// Without a leading dot: `cluster.local`.
  public let domain: String

  public init(domain: String) { self.domain = domain }

  /// For `Intake.rewrite`.
  public var rewriter: BodyRewriter {
    let hosts = self
    return { (draft: ResourceDraft, type: TypeName) throws(BodyFault) -> [UInt8]? in
      guard let fields = ShortHosts.fields[draft.bodyMessage], !draft.namespace.isEmpty else { return nil }
      do throws(ProtobufError) {
        return try hosts.completed(ProtobufReader(draft.body), fields, draft.namespace)
      } catch {
        throw BodyFault("it is not \(draft.bodyMessage): \(error.what)")
      }
    }
  }

  /// What stands in a field.
  private indirect enum Place {
    /// A host name.
    case host
    /// `namespace/host`, as a Sidecar's listeners have it; `.` is the object's own namespace.
    case hostOfNamespace
    case inside([Int: Place])
  }

  private static let destination = Place.inside([1: .host])
  private static let routes = Place.inside([2: .inside([1: destination])])

  /// By body message and field number.
  private static let fields: [String: [Int: Place]] = [
    // hosts, http (route, mirror, mirrors), tcp, tls
    "istio.networking.v1alpha3.VirtualService": [
      1: .host,
      3: .inside([2: .inside([1: destination]), 9: destination, 22: .inside([1: destination])]),
      4: routes, 5: routes,
    ],
    // host
    "istio.networking.v1alpha3.DestinationRule": [1: .host],
    // egress (hosts), outboundTrafficPolicy (egressProxy)
    "istio.networking.v1alpha3.Sidecar": [
      3: .inside([4: .hostOfNamespace]), 4: .inside([2: destination]),
    ],
  ]

  /// Nil when nothing in it is short. The depth is that of `fields`, whatever the bytes say.
  private func completed(
    _ message: ProtobufReader, _ fields: [Int: Place], _ namespace: String
  ) throws(ProtobufError) -> [UInt8]? {
    var reader = message
    var writer = ProtobufWriter(reserving: message.remaining)
    var isChanged = false
    while true {
      let start = reader.offset
      guard let field = try reader.next() else { break }
      var text: String?
      var inner: [UInt8]?
      switch fields[field.number] {
      case nil: break
      case .host?: text = completed(try reader.string(field), of: namespace)
      case .hostOfNamespace?: text = completedWithNamespace(try reader.string(field), seenFrom: namespace)
      case .inside(let fields)?: inner = try completed(try reader.message(field), fields, namespace)
      }
      if let text { writer.presentString(field.number, text) }
      if let inner { writer.message(field.number, inner) }
      if text == nil, inner == nil { writer.raw(reader.raw(since: start)) } else { isChanged = true }
    }
    return isChanged ? writer.bytes : nil
  }

  /// Nil for a name that is no short one: whole already, a wildcard, an address, or nothing.
  private func completed(_ host: String, of namespace: String) -> String? {
    let isShort = !host.isEmpty && host.utf8.allSatisfy { !ShortHosts.endsShortness.contains($0) }
    return isShort ? "\(host).\(namespace).svc.\(domain)" : nil
  }

  /// A dot makes a name whole, a colon an IPv6 address; the other two are no part of a name.
  private static let endsShortness = Set(".:*/".utf8)

  private func completedWithNamespace(_ text: String, seenFrom own: String) -> String? {
    let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
    guard parts.count == 2 else { return nil }
    let namespace = parts[0] == "." ? own : String(parts[0])
    // `*/reviews` is in no namespace that could be named.
    guard NameRules.isLabel(namespace) else { return nil }
    return completed(String(parts[1]), of: namespace).map { "\(parts[0])/\($0)" }
  }
}
