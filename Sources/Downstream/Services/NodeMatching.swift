// Which streams a CSDS request asks for, by what their clients say of themselves: a node's id and its metadata,
// labels both, never proof. Matchers are alternatives; within one, the id and all metadata conditions must hold.
// Source: envoy.type.matcher.v3 NodeMatcher, StructMatcher, ValueMatcher, StringMatcher.

import GRPC
import Protos
import SwiftProtobuf

/// What one client says of itself.
struct NodeLabel {
  let id: String
  private let bytes: [UInt8]
  /// Read when a condition asks for it first. What cannot be read is as good as not said.
  lazy var metadata = (try? Google_Protobuf_Struct(serializedBytes: bytes)) ?? Google_Protobuf_Struct()

  /// `metadata`: a `google.protobuf.Struct`.
  init(id: String, metadata: [UInt8]) {
    self.id = id
    bytes = metadata
  }
}

/// One NodeMatcher, found to be one that can be answered.
struct NodeMatching: Sendable {
  /// Conditions in one request. Reason: each is tried on every stream of the caller, on a serve loop.
  static let conditionsMost = 256

  private let id: TextMatching?
  private let conditions: [StructMatching]

  /// `room`: conditions that the request may still have.
  init(_ matcher: Envoy_Type_Matcher_V3_NodeMatcher, room: inout Int) throws(GRPCStatus) {
    try NodeMatching.take(&room)
    id = matcher.hasNodeID ? try TextMatching(matcher.nodeID) : nil
    var conditions: [StructMatching] = []
    for condition in matcher.nodeMetadatas { conditions.append(try StructMatching(condition, room: &room)) }
    self.conditions = conditions
  }

  func matches(_ label: inout NodeLabel) -> Bool {
    if let id, !id.matches(label.id) { return false }
    guard !conditions.isEmpty else { return true }
    let metadata = label.metadata
    return conditions.allSatisfy { $0.matches(metadata) }
  }

  fileprivate static func take(_ room: inout Int) throws(GRPCStatus) {
    guard room > 0 else {
      throw GRPCStatus(.resourceExhausted, "a request has at most \(conditionsMost) matchers")
    }
    room -= 1
  }
}

/// One value somewhere in the metadata.
private struct StructMatching: Sendable {
  private let path: [String]
  private let value: ValueMatching

  init(_ matcher: Envoy_Type_Matcher_V3_StructMatcher, room: inout Int) throws(GRPCStatus) {
    var path: [String] = []
    for segment in matcher.path {
      guard case .key(let key) = segment.segment else {
        throw GRPCStatus(.invalidArgument, "a path segment of node_metadatas has no key")
      }
      path.append(key)
    }
    guard !path.isEmpty, matcher.hasValue else {
      throw GRPCStatus(.invalidArgument, "node_metadatas needs a path and a value")
    }
    self.path = path
    value = try ValueMatching(matcher.value, room: &room)
  }

  func matches(_ metadata: Google_Protobuf_Struct) -> Bool {
    var fields: [String: Google_Protobuf_Value]? = metadata.fields
    var found: Google_Protobuf_Value?
    for key in path {
      found = fields?[key]
      if case .structValue(let inner) = found?.kind { fields = inner.fields } else { fields = nil }
    }
    return value.matches(found?.kind)
  }
}

private indirect enum ValueMatching: Sendable {
  case null
  case number(ClosedRange<Double>)
  /// The end does not belong to it.
  case interval(from: Double, to: Double)
  case text(TextMatching)
  case flag(Bool)
  case presence(Bool)
  case element(ValueMatching)
  case either([ValueMatching])

  init(_ matcher: Envoy_Type_Matcher_V3_ValueMatcher, room: inout Int) throws(GRPCStatus) {
    try NodeMatching.take(&room)
    switch matcher.matchPattern {
    case .nullMatch: self = .null
    case .doubleMatch(let double): self = try ValueMatching.double(double)
    case .stringMatch(let text): self = .text(try TextMatching(text))
    case .boolMatch(let flag): self = .flag(flag)
    case .presentMatch(let isPresent): self = .presence(isPresent)
    case .listMatch(let list):
      guard case .oneOf(let element) = list.matchPattern else { throw ValueMatching.empty }
      self = .element(try ValueMatching(element, room: &room))
    case .orMatch(let either):
      var choices: [ValueMatching] = []
      for choice in either.valueMatchers { choices.append(try ValueMatching(choice, room: &room)) }
      self = .either(choices)
    case nil: throw ValueMatching.empty
    }
  }

  private static func double(
    _ matcher: Envoy_Type_Matcher_V3_DoubleMatcher
  ) throws(GRPCStatus) -> ValueMatching {
    switch matcher.matchPattern {
    case .range(let range): return .interval(from: range.start, to: range.end)
    case .exact(let number):
      guard !number.isNaN else { return .either([]) }
      return .number(number...number)
    case nil: throw empty
    }
  }

  private static var empty: GRPCStatus {
    GRPCStatus(.invalidArgument, "a value of node_metadatas has no pattern")
  }

  func matches(_ value: Google_Protobuf_Value.OneOf_Kind?) -> Bool {
    switch (self, value) {
    case (.null, .nullValue): true
    case (.number(let range), .numberValue(let number)): range.contains(number)
    case (.interval(let from, let to), .numberValue(let number)): from <= number && number < to
    case (.text(let text), .stringValue(let string)): text.matches(string)
    case (.flag(let wanted), .boolValue(let flag)): wanted == flag
    case (.presence(let wanted), _): wanted == (value != nil)
    case (.element(let element), .listValue(let list)): list.values.contains { element.matches($0.kind) }
    case (.either(let choices), _): choices.contains { $0.matches(value) }
    default: false
    }
  }
}

private struct TextMatching: Sendable {
  private let pattern: Envoy_Type_Matcher_V3_StringMatcher.OneOf_MatchPattern?
  private let ignoresCase: Bool

  init(_ matcher: Envoy_Type_Matcher_V3_StringMatcher) throws(GRPCStatus) {
    if case .safeRegex = matcher.matchPattern {
      throw GRPCStatus(
        .invalidArgument, "safe_regex is not understood: use exact, prefix, suffix or contains")
    }
    ignoresCase = matcher.ignoreCase
    pattern = matcher.matchPattern
  }

  func matches(_ text: String) -> Bool {
    let text = folded(text)
    return switch pattern {
    case .exact(let wanted): text == folded(wanted)
    case .prefix(let wanted): text.hasPrefix(folded(wanted))
    case .suffix(let wanted): text.hasSuffix(folded(wanted))
    case .contains(let wanted): wanted.isEmpty || text.contains(folded(wanted))
    case .safeRegex: false
    case nil: true
    }
  }

  private func folded(_ text: String) -> String { ignoresCase ? text.lowercased() : text }
}
