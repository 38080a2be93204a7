// What the origin really holds, and everything it ever held: the yardstick of the simulation.
//
// States are made here by the generator and written as manifests; nothing of the program under test has a
// say in them. Equal content is told by a revision that stands both in a label and in the body, so that an
// envelope with another object's body is seen too.

import Foundation
import Glibc
import Primitives

/// The kinds the simulation moves. In each the first field of the body is a host name.
enum SimulatedKind: String, CaseIterable, Hashable, Sendable {
  case virtualService = "VirtualService"
  case serviceEntry = "ServiceEntry"
  case destinationRule = "DestinationRule"

  var typeURL: String { "networking.istio.io/v1/" + rawValue }

  init?(typeURL: String) {
    guard let kind = SimulatedKind.allCases.first(where: { $0.typeURL == typeURL }) else { return nil }
    self = kind
  }

  fileprivate func spec(_ host: String) -> String {
    self == .destinationRule ? "{host: \(host)}" : "{hosts: [\(host)]}"
  }
}

/// One object of the truth.
struct TruthKey: Hashable, Comparable {
  let kind: SimulatedKind
  let namespace: String
  let name: String

  var wireName: String { namespace + "/" + name }

  static func < (left: TruthKey, right: TruthKey) -> Bool {
    (left.namespace, left.kind.rawValue, left.name) < (right.namespace, right.kind.rawValue, right.name)
  }
}

/// The origin's folder and its history.
final class Truth {
  typealias State = [TruthKey: Int]

  /// `core` never leaves the centre; the others are granted by edges.
  static let namespaces = ["alpha", "beta", "core", "shared"]
  private static let names = ["a", "b", "c", "d"]
  /// Never removed: a folder that turns empty is a fault, not a deletion.
  private static let anchor = TruthKey(kind: .virtualService, namespace: "shared", name: "anchor")

  let folder: String
  private(set) var states: [State] = [[:]]
  private var revision = 0

  init() {
    folder = NSTemporaryDirectory() + "/meshrelay-simulation-" + UUID().uuidString
    do {
      try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
      try FileManager.default.createDirectory(atPath: folder + ".state", withIntermediateDirectories: true)
    } catch {
      preconditionFailure("a simulation needs a temporary folder: \(error)")
    }
  }

  deinit {
    try? FileManager.default.removeItem(atPath: folder)
    try? FileManager.default.removeItem(atPath: folder + ".state")
  }

  var newest: State { states[states.count - 1] }

  /// What `namespaces` hold of `kind` in a state: wire name → revision.
  static func cut(_ state: State, _ kind: SimulatedKind, _ namespaces: Set<String>) -> [String: Int] {
    var result: [String: Int] = [:]
    for (key, revision) in state where key.kind == kind && namespaces.contains(key.namespace) {
      result[key.wireName] = revision
    }
    return result
  }

  /// The first state: about half of all objects.
  func fill(_ generator: inout SeededGenerator, at time: Timestamp) {
    var next = State()
    next[Truth.anchor] = takeRevision()
    for namespace in Truth.namespaces {
      for kind in SimulatedKind.allCases {
        for name in Truth.names where Bool.random(using: &generator) {
          next[TruthKey(kind: kind, namespace: namespace, name: name)] = takeRevision()
        }
      }
    }
    become(next, at: time)
  }

  /// Changes one to six objects: new, other content, gone. Returns what was done, for the journal.
  func change(_ generator: inout SeededGenerator, at time: Timestamp) -> String {
    var next = newest
    var done: [String] = []
    for _ in 0..<Int.random(in: 1...6, using: &generator) {
      let key = TruthKey(
        kind: SimulatedKind.allCases.randomElement(using: &generator) ?? .virtualService,
        namespace: Truth.namespaces.randomElement(using: &generator) ?? "shared",
        name: Truth.names.randomElement(using: &generator) ?? "a")
      if next[key] != nil, Int.random(in: 0..<3, using: &generator) == 0 {
        next[key] = nil
        done.append("-\(key.kind.rawValue) \(key.wireName)")
      } else {
        next[key] = takeRevision()
        done.append("+\(key.kind.rawValue) \(key.wireName)=\(revision)")
      }
    }
    become(next, at: time)
    return done.joined(separator: " ")
  }

  /// Removes about four of five objects: a mistake, or a cleaning up.
  func shrink(_ generator: inout SeededGenerator, at time: Timestamp) {
    let kept = newest.sorted { $0.key < $1.key }.filter { key, _ in
      key == Truth.anchor || Int.random(in: 0..<5, using: &generator) == 0
    }
    become(Dictionary(uniqueKeysWithValues: kept.map { ($0.key, $0.value) }), at: time)
  }

  private func takeRevision() -> Int {
    revision += 1
    return revision
  }

  private func become(_ next: State, at time: Timestamp) {
    for namespace in Truth.namespaces {
      let objects = next.filter { $0.key.namespace == namespace }
      if objects != newest.filter({ $0.key.namespace == namespace }) { write(namespace, objects, at: time) }
    }
    states.append(next)
  }

  /// One file per namespace, replaced as a whole. Its date is the virtual one: real dates would differ from
  /// run to run, and two writes in one tick of the real clock would have the same.
  private func write(_ namespace: String, _ objects: State, at time: Timestamp) {
    let path = folder + "/" + namespace + ".yaml"
    guard !objects.isEmpty else {
      _ = unsafe unlink(path)
      return
    }
    let text = objects.sorted { $0.key < $1.key }.map { Truth.manifest($0.key, $0.value) }
      .joined(separator: "---\n")
    let draft = folder + "/." + namespace
    do {
      try Data(text.utf8).write(to: URL(fileURLWithPath: draft))
    } catch {
      preconditionFailure("a manifest of the simulation cannot be written: \(error)")
    }
    let date = timespec(tv_sec: Int(time.seconds), tv_nsec: Int(time.nanoseconds))
    unsafe [date, date].withUnsafeBufferPointer { dates in
      _ = unsafe utimensat(AT_FDCWD, draft, dates.baseAddress, 0)
    }
    _ = unsafe rename(draft, path)
  }

  private static func manifest(_ key: TruthKey, _ revision: Int) -> String {
    // Bodies of many sizes: some fit a record, some do not fit the window of a slow link.
    let note = String(repeating: "n", count: revision * 977 % 3000)
    return """
      apiVersion: networking.istio.io/v1
      kind: \(key.kind.rawValue)
      metadata:
        name: \(key.name)
        namespace: \(key.namespace)
        labels: {revision: "\(revision)"}
        annotations: {note: "\(note)"}
      spec: \(key.kind.spec("r\(revision).example"))

      """
  }
}
