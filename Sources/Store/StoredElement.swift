// Elements on their way to being resources again. Reading rows is for one thread; what it has read is proven and made
// resources of on the other processors while it goes on.
//
//   rows ──► ElementShare, some 64 KiB of neighbours ──► Slab: every address, then one Resource each ──► Collection
//
// The bytes are copied once from SQLite's pages into memory that becomes the slab of their resources.

internal import Dispatch
internal import Foundation
internal import GRDB
internal import Primitives
internal import Snapshots
internal import Synchronization

/// Elements of one type that follow each other, and are proven together.
private struct ElementShare: Sendable {
  struct Element: Sendable {
    let name: String
    let address: Version
    let source: String
    /// Within the bytes of the share.
    let range: Range<Int>
  }

  let type: TypeName
  var elements: [Element] = []
  var bytes: [UInt8] = []

  /// Bytes from which on a share is full. Reason: its objects keep each other's memory, so it must be small beside what
  /// changes over time, and large beside what a piece of work costs.
  static let bytesEnough = 64 << 10
  private static let elementsEnough = 256

  init(_ type: TypeName) {
    self.type = type
    bytes.reserveCapacity(ElementShare.bytesEnough + ElementShare.bytesEnough / 4)
    elements.reserveCapacity(ElementShare.elementsEnough)
  }

  var isFull: Bool {
    bytes.count >= ElementShare.bytesEnough || elements.count >= ElementShare.elementsEnough
  }

  /// The resources, in the same order. Throws the first damage in that order.
  func resources() throws -> [Resource] {
    let slab = Slab(bytes)
    var addressing = ElementAddressing(type)
    var readmission = Readmission(type: type, slab: slab)
    var resources: [Resource] = []
    resources.reserveCapacity(elements.count)
    for element in elements {
      let address = unsafe slab.withBytes { bytes in
        unsafe addressing.address(
          of: UnsafeRawBufferPointer(rebasing: bytes[element.range]), source: element.source)
      }
      guard address == element.address else { throw Damage("an element of \(type)") }
      do {
        resources.append(
          try readmission.readmit(element.range, name: element.name, source: element.source))
      } catch {
        throw Damage("an element of \(type): \(error.what)")
      }
    }
    return resources
  }
}

/// Takes rows of type, name, address, source and bytes, ordered by type and name, and gives their content back, proven.
struct ElementProof: ~Copyable {
  private let types: [Int64: TypeName]
  private var share: ElementShare?
  private var shareType: Int64 = 0
  /// The source of the last row: neighbours mostly have the same.
  private var source = ""
  private var shares = 0
  private let work = DispatchGroup()
  private let proven = Proven()

  private final class Proven: Sendable {
    let results = Mutex<[Int: Result<(type: TypeName, resources: [Resource]), any Error>]>([:])
  }

  init(_ types: [Int64: TypeName]) { self.types = types }

  mutating func take(_ row: Row) throws {
    let number = try row.decode(Int64.self, atIndex: 0)
    if share == nil || number != shareType || share?.isFull == true {
      submit()
      guard let type = types[number] else { throw Damage("a type") }
      (share, shareType) = (ElementShare(type), number)
    }
    let address = try row.withUnsafeData(atIndex: 2) { data in
      unsafe data?.withUnsafeBytes { unsafe Version($0) }
    }
    guard let address else { throw Damage("the address of an element") }
    let name = try row.decode(String.self, atIndex: 1)
    let source = try row.decode(String.self, atIndex: 3)
    if source != self.source { self.source = source }
    try row.withUnsafeData(atIndex: 4) { data in
      guard let data else { throw Damage("an element without bytes") }
      append(data, name, address)
    }
  }

  private mutating func append(_ data: Data, _ name: String, _ address: Version) {
    guard let start = share?.bytes.count else { return }
    unsafe data.withUnsafeBytes { unsafe share?.bytes.append(contentsOf: $0) }
    share?.elements.append(
      ElementShare.Element(
        name: name, address: address, source: source, range: start..<start + data.count))
  }

  private mutating func submit() {
    guard let full = share.take() else { return }
    let (index, proven) = (shares, proven)
    shares += 1
    DispatchQueue.global(qos: .userInitiated).async(group: work) {
      let result = Result { (type: full.type, resources: try full.resources()) }
      proven.results.withLock { $0[index] = result }
    }
  }

  /// Elements that are held in memory at once by who goes through more than fits there.
  static let pieceMost = 8192

  /// Waits for the proof of everything taken, and gives it back in the same order. Throws the first damage in it.
  mutating func resources() throws -> [Resource] {
    var resources: [Resource] = []
    for share in try wait() { resources += share.resources }
    return resources
  }

  /// The same as collections.
  mutating func collections() throws -> [TypeName: Collection] {
    var resources: [TypeName: [Resource]] = [:]
    for share in try wait() { resources[share.type, default: []] += share.resources }
    return resources.mapValues { Collection($0) }
  }

  private mutating func wait() throws -> [(type: TypeName, resources: [Resource])] {
    submit()
    work.wait()
    let results = proven.results.withLock { $0 }
    return try (0..<shares).map { index in
      guard let share = try results[index]?.get() else { throw Damage("elements that were not proven") }
      return share
    }
  }
}
