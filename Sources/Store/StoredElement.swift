// One element as its row has it, on its way to being a resource again. Reading rows is for one thread; proving and
// admitting them is most of the work after a start, and every processor takes a share of it.

internal import Dispatch
internal import Foundation
internal import GRDB
internal import Snapshots
internal import Synchronization

struct StoredElement: Sendable {
  let type: TypeName
  let name: String
  let address: Data
  let source: String
  let encoded: [UInt8]

  /// Elements that wait in memory to be proven together. Reason: some megabytes of a usual kind, and enough for the
  /// shares to be even.
  static let provenAtOnce = 8192
  /// Elements that one thread takes at once.
  private static let share = 256

  /// A row of type, name, address, source and bytes.
  init(_ row: Row, _ types: [Int64: TypeName]) throws {
    guard let type = types[try row.decode(Int64.self, atIndex: 0)] else { throw Damage("a type") }
    self.type = type
    name = try row.decode(String.self, atIndex: 1)
    address = try row.decode(Data.self, atIndex: 2)
    source = try row.decode(String.self, atIndex: 3)
    encoded = try row.withUnsafeData(atIndex: 4) { bytes in
      guard let bytes else { throw Damage("an element without bytes") }
      return [UInt8](bytes)
    }
  }

  /// The resources, in the same order. Throws the first damage in that order.
  static func prove(_ elements: [StoredElement]) throws -> [Resource] {
    let shares = (elements.count + share - 1) / share
    let proven = Mutex<[Int: Result<[Resource], any Error>]>([:])
    DispatchQueue.concurrentPerform(iterations: shares) { index in
      let own = elements[(index * share)..<min(elements.count, (index + 1) * share)]
      let result = Result { try own.map { try $0.resource() } }
      proven.withLock { $0[index] = result }
    }
    let results = proven.withLock { $0 }
    return try (0..<shares).flatMap { try results[$0]?.get() ?? [] }
  }

  private func resource() throws -> Resource {
    guard address == SealedContent.address(of: encoded, type: type, source: source) else {
      throw Damage("an element of \(type)")
    }
    let resource: Resource
    do {
      resource = try Admission.readmit(type: type, encoded: encoded, source: source)
    } catch {
      throw Damage("an element of \(type): \(error.what)")
    }
    guard resource.wireName == name else { throw Damage("the name of \(name)") }
    return resource
  }
}
