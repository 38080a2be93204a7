// Goal: a second opinion on policy, so plain that a reader can check it against DESIGN.md §6 line by line.
// Method: no compiled patterns, no classes, no tables; every question walks the words of the file.

import Documents
import SPIFFE

/// A rule as its file writes it: the key with its items.
typealias PlainRule = [String: [String]]

struct PlainCluster {
  var name: String
  var identities: [String]
  var allow: [PlainRule]
  var deny: [PlainRule]
  /// Key patterns, by `labels` and `annotations`.
  var redact: PlainRule = [:]
}

struct PlainObject {
  var type: String
  var namespace: String
  var name: String
  var labels: [String: String]
  var source: String
  var annotations: [String: String] = [:]
}

struct Reference {
  var clusters: [PlainCluster]
  var blocked: [String]

  /// Nil: no cluster, or blocked.
  func cluster(of id: String) -> PlainCluster? {
    if blocked.contains(where: { Reference.identity($0, id) }) { return nil }
    return clusters.first { cluster in cluster.identities.contains { Reference.identity($0, id) } }
  }

  func isVisible(_ object: PlainObject, to id: String) -> Bool {
    guard let cluster = cluster(of: id) else { return false }
    if cluster.deny.contains(where: { Reference.rule($0, object) }) { return false }
    return cluster.allow.contains { Reference.rule($0, object) }
  }

  /// The object as `id` is served it; nil when it may not see it.
  func served(_ object: PlainObject, to id: String) -> PlainObject? {
    guard isVisible(object, to: id), let redact = cluster(of: id)?.redact else { return nil }
    func shown(_ pairs: [String: String], _ part: String) -> [String: String] {
      pairs.filter { key, _ in !(redact[part] ?? []).contains { Reference.glob($0, key) } }
    }
    var object = object
    object.labels = shown(object.labels, "labels")
    object.annotations = shown(object.annotations, "annotations")
    return object
  }

  static func identity(_ pattern: String, _ id: String) -> Bool {
    pattern.hasSuffix("/*") ? id.hasPrefix(pattern.dropLast()) : id == pattern
  }

  static func rule(_ rule: PlainRule, _ object: PlainObject) -> Bool {
    rule.allSatisfy { key, items in
      switch key {
      case "types": items.contains { $0 == "*" || glob($0, object.type) }
      case "namespaces": items.contains { glob($0, object.namespace) }
      case "names": items.contains { glob($0, object.name) }
      case "sources": items.contains(object.source)
      case "labels": items.allSatisfy { requirement($0, object.labels) }
      default: false
      }
    }
  }

  /// `k=v`, `k!=v`, `k`, `!k`, `k in (a,b)`, `k notin (a,b)`, without other spaces.
  static func requirement(_ text: String, _ labels: [String: String]) -> Bool {
    if text.hasPrefix("!") { return labels[String(text.dropFirst())] == nil }
    let words = text.split(separator: " ").map(String.init)
    if words.count == 3 {
      let values = words[2].dropFirst().dropLast().split(separator: ",").map(String.init)
      let isOne = labels[words[0]].map { values.contains($0) } ?? false
      return words[1] == "in" ? isOne : !isOne
    }
    if let range = text.firstRange(of: "!=") {
      return labels[String(text[..<range.lowerBound])] != String(text[range.upperBound...])
    }
    if let range = text.firstRange(of: "=") {
      return labels[String(text[..<range.lowerBound])] == String(text[range.upperBound...])
    }
    return labels[text] != nil
  }

  static func glob(_ pattern: String, _ subject: String) -> Bool {
    glob(Array(pattern.utf8)[...], Array(subject.utf8)[...])
  }

  static func glob(_ pattern: ArraySlice<UInt8>, _ subject: ArraySlice<UInt8>) -> Bool {
    guard let first = pattern.first else { return subject.isEmpty }
    if first == UInt8(ascii: "*") {
      if glob(pattern.dropFirst(), subject) { return true }
      guard let byte = subject.first, byte != UInt8(ascii: "/") else { return false }
      return glob(pattern, subject.dropFirst())
    }
    return subject.first == first && glob(pattern.dropFirst(), subject.dropFirst())
  }
}
