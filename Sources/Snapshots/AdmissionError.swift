// Why one object was set aside. Every reason names the rule and what was found instead.

public import Primitives

/// A rule of admission that an object breaks.
public enum AdmissionError: Explained, Equatable {
  /// The envelope is not well-formed protobuf, or resolves differently in different decoders.
  case malformed(ProtobufError)
  /// A part every object must have.
  case missing(String)
  /// The delta wrapper and the metadata name different objects.
  case namesDisagree(wrapper: String, metadata: String)
  /// Not `namespace/name` (or `name` for kinds without namespaces).
  case badWireName(String)
  /// Not an RFC 1123 label.
  case badNamespace(String)
  /// A namespace on a kind that has none.
  case unexpectedNamespace(String)
  /// Not an RFC 1123 subdomain.
  case badName(String)
  /// The body is another message than the kind's.
  case wrongBody(expected: String, found: String)
  /// The body's bytes do not decode as its message.
  case brokenBody(String)
  /// A label or annotation key is empty or given twice.
  case badKey(String)
  /// Outside the years 1 … 9999, or nanoseconds outside 0 … 999,999,999.
  case badTime(seconds: Int64, nanoseconds: Int64)
  /// More encoded bytes than `limits.resourceBytes`.
  case tooLarge(bytes: Int, limit: Int)
  /// A second object of a kind that may exist once.
  case secondOfItsKind
  /// The same name twice in one response.
  case duplicateName(String)

  public var what: String {
    switch self {
    case .malformed(let error): error.what
    case .missing(let part): "The object has no \(part)"
    case .namesDisagree(let wrapper, let metadata):
      "The wrapper says \(quoted(wrapper)), the metadata \(quoted(metadata))"
    case .badWireName(let name): "\(quoted(name)) is not namespace/name"
    case .badNamespace(let name): "The namespace \(quoted(name)) is not an RFC 1123 label"
    case .unexpectedNamespace(let name): "The kind has no namespaces and the object says \(quoted(name))"
    case .badName(let name): "The name \(quoted(name)) is not an RFC 1123 subdomain of at most 253 bytes"
    case .wrongBody(let expected, let found):
      "The body is \(quoted(found)), the kind's is \(quoted(expected))"
    case .brokenBody(let reason): "The body does not decode: \(reason)"
    case .badKey(let key): "The label or annotation key \(quoted(key)) is empty or given twice"
    case .badTime(let seconds, let nanoseconds):
      "The creation time \(seconds) s \(nanoseconds) ns is outside the years 1 to 9999"
    case .tooLarge(let bytes, let limit): "The object takes \(bytes) bytes, the limit is \(limit)"
    case .secondOfItsKind: "There may be only one object of this kind"
    case .duplicateName(let name): "\(quoted(name)) occurs twice in one response"
    }
  }

  public var howToFix: String {
    switch self {
    case .tooLarge: "Split the object, or raise limits.resourceBytes on every tier"
    default: ""
    }
  }

  public var blame: Blame { .upstream }

  /// Foreign text, cut so that one bad name cannot fill a status page.
  private func quoted(_ text: String) -> String {
    text.utf8.count <= 256 ? "\"\(text)\"" : "\"\(String(text.prefix(253)))…\""
  }
}

/// An object that was set aside, for status and logs.
public struct Rejection: Sendable, Equatable {
  /// Where it came from: `file:line:column`, or the address of an upstream.
  public var place: String
  /// `group/Kind namespace/name`, as far as known.
  public var resource: String
  public var reason: String

  public init(place: String, resource: String, reason: String) {
    self.place = place
    self.resource = resource
    self.reason = reason
  }
}
