// What the tests of this room build their folders and snapshots from.

import Glibc
import Primitives
import Snapshots
import Store
import Testing

let virtualService = TypeName(group: "networking.istio.io", kind: "VirtualService")
let gateway = TypeName(group: "networking.istio.io", kind: "Gateway")
let sidecar = TypeName(group: "networking.istio.io", kind: "Sidecar")

/// A moment on the wall clock; the store never reads a clock of its own.
let noon = Timestamp(seconds: 1_795_435_200)

/// A folder of its own, removed at the end.
final class TemporaryFolder {
  let path: String

  init() {
    var name = Array("/tmp/store-test-XXXXXX".utf8CString)
    let made = unsafe mkdtemp(&name) != nil
    precondition(made, "no temporary folder can be made")
    path = String(decoding: name.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  deinit {
    for name in names { unsafe unlink(path + "/" + name) }
    unsafe rmdir(path + "/state")
    unsafe rmdir(path)
  }

  /// The names in it, sorted.
  var names: [String] {
    guard let folder = unsafe opendir(path) else { return [] }
    defer { unsafe closedir(folder) }
    var names: [String] = []
    while let entry = unsafe readdir(folder) {
      let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
        unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      if name != "." && name != ".." { names.append(name) }
    }
    return names.sorted()
  }

  func read(_ name: String) -> [UInt8] {
    guard let file = unsafe fopen(path + "/" + name, "r") else { return [] }
    defer { unsafe fclose(file) }
    var content: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 65_536)
    while true {
      let count = unsafe fread(&chunk, 1, chunk.count, file)
      if count == 0 { return content }
      content += chunk[..<count]
    }
  }

  func write(_ content: [UInt8], _ name: String) {
    let file = unsafe fopen(path + "/" + name, "w")
    precondition(unsafe file != nil, "a test cannot write its own folder")
    if let file = unsafe file {
      unsafe fwrite(content, 1, content.count, file)
      unsafe fclose(file)
    }
  }

  func remove(_ name: String) { unsafe unlink(path + "/" + name) }

  func mode(_ name: String) -> UInt32 {
    var status = stat()
    let found = unsafe stat(path + "/" + name, &status) == 0
    return found ? UInt32(status.st_mode) & 0o7777 : 0
  }
}

func resource(
  _ name: String, body: [UInt8] = Array("body".utf8), type: TypeName = virtualService,
  source: String = "central", created: Int64 = 1_700_000_000,
  labels: [(key: String, value: String)] = [("tier", "edge")]
) -> Resource {
  let message = Kinds[type]?.bodyMessage ?? ""
  let draft = ResourceDraft(
    namespace: "prod", name: name, labels: labels,
    createTime: Timestamp(seconds: created, nanoseconds: 5), bodyMessage: message, body: body, source: source)
  do {
    return try Admission.admit(type: type, draft: draft, limits: Limits())
  } catch {
    preconditionFailure("a fixture breaks a rule of admission: \(error)")
  }
}

/// A small world whose snapshots follow one another.
struct World {
  var collections: [TypeName: Collection] = [virtualService: .empty, gateway: .empty]
  var sequence: UInt64 = 1
  var causes = RemovalCauses()
  var isComplete = true

  var position: Position {
    Position(
      origin: "mesh", sequence: sequence,
      published: Timestamp(seconds: noon.seconds, nanoseconds: 250_000_000),
      path: [PathElement(instance: "i-1", node: "origin"), PathElement(instance: "i-2", node: "edge")])
  }

  var snapshot: Snapshot {
    Snapshot(
      collections: collections, pending: [], isComplete: isComplete, position: position, removalCauses: causes
    )
  }

  var sources: [SourceMark] {
    [
      SourceMark(
        name: "central", isComplete: true, position: position,
        positions: [virtualService: position, TypeName(group: "example.org", kind: "Never"): position]),
      SourceMark(name: "dir", isComplete: false),
    ]
  }

  mutating func set(_ resources: [Resource]) {
    for resource in resources {
      collections[resource.type] = (collections[resource.type] ?? .empty).applying(upserts: [resource])
    }
    sequence += 1
  }

  mutating func remove(_ name: String, _ type: TypeName = virtualService, cause: RemovalCause = .source) {
    collections[type] = collections[type]?.applying(upserts: [], removals: [name])
    causes.record(cause, type: type, names: [name])
    sequence += 1
  }

  /// A step as sources make it: some objects set, some removed, some taken away for good.
  mutating func step(_ generator: inout SeededGenerator, names: Int = 40) {
    for _ in 0..<Int.random(in: 0..<6, using: &generator) {
      let name = "r\(Int.random(in: 0..<names, using: &generator))"
      let type = [virtualService, gateway, sidecar][Int.random(in: 0..<3, using: &generator)]
      switch Int.random(in: 0..<4, using: &generator) {
      case 0: remove("prod/" + name, type, cause: Bool.random(using: &generator) ? .policy : .source)
      case 1: set([resource(name, body: [1], type: type, source: "dir")])
      default:
        let body = [UInt8](repeating: 7, count: Int.random(in: 0..<6000, using: &generator))
        set([resource(name, body: body, type: type, created: Int64.random(in: 0..<9, using: &generator))])
      }
    }
    sequence += 1
  }
}

/// Everything that must come back, as text, so that a difference shows where it is.
func portrait(_ snapshot: Snapshot) -> [String] {
  portrait(snapshot.collections, snapshot.position, snapshot.version, snapshot.isComplete)
}

func portrait(_ restored: Restored?) -> [String] {
  guard let restored else { return ["nothing"] }
  return portrait(restored.collections, restored.position, restored.version, restored.isComplete)
}

func portrait(
  _ collections: [TypeName: Collection], _ position: Position, _ version: Version, _ isComplete: Bool
) -> [String] {
  var lines = ["\(position) \(version) \(isComplete)"]
  for (type, collection) in collections.sorted(by: { $0.key < $1.key }) {
    lines.append("\(type) \(collection.version)")
    for resource in collection.resources {
      lines.append("\(resource.wireName) \(resource.source) \(Hex.encode(resource.encoded))")
    }
  }
  return lines
}
