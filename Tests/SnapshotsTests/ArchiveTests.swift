// Goal: a snapshot that travelled as a file is the snapshot it was; every byte that changed on the way is noticed, a
// file that ends early is noticed wherever it ends, and nothing of a file can trap.
// Method: random snapshots, written and read in pieces of random size; then every byte flipped, and every length cut.

import Digest
import Glibc
import Primitives
import Testing

@testable import Snapshots

struct ArchiveTests {
  private static let noon = Timestamp(seconds: 1_790_000_000, nanoseconds: 5_000_000)
  private static let place = Position(
    origin: "mesh", sequence: 1_790_000_000_000, published: noon,
    path: [PathElement(instance: "i", node: "origin")])

  private static func header(_ content: [TypeName: Collection], identity: String? = nil) -> ArchiveHeader {
    let version = Snapshot(collections: content, pending: [], isComplete: true, position: place).version
    return ArchiveHeader(
      node: "edge \"1\"", program: "0.1.0", exportedAt: noon, identity: identity, version: version,
      position: place, types: 0, resources: 0)
  }

  private static func file(
    _ content: [TypeName: Collection], positions: [TypeName: Position] = [:], piece: Int = 1000
  ) -> [UInt8] {
    var writer = ArchiveWriter(header(content), content, positions: positions)
    var bytes: [UInt8] = []
    while true {
      let next = writer.next(piece)
      if next.isEmpty { return bytes }
      bytes += next
    }
  }

  /// Reads a file in the pieces that `sizes` gives, as an import does.
  private static func read(
    _ bytes: [UInt8], source: String = "up", limits: Limits = Limits(), _ sizes: () -> Int = { 700 }
  ) throws -> CarriedSnapshot {
    var reader = ArchiveReader(resourceBytesMost: limits.resourceBytes)
    var intake = ArchiveIntake(source: source, limits: limits, intake: Intake(), now: noon)
    var rest = bytes[...]
    while !rest.isEmpty {
      let piece = rest.prefix(sizes())
      rest = rest.dropFirst(piece.count)
      try intake.take(try reader.receive(Array(piece)), offset: reader.offset)
    }
    try reader.finish()
    return try intake.finish(offset: reader.offset)
  }

  private static func small() -> [TypeName: Collection] {
    [virtualService: Collection([resource("a"), resource("b", body: "other")]), gateway: .empty]
  }

  @Test(arguments: 0..<8 as Range<UInt64>) func aSnapshotComesBackAsItWas(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let count = Int.random(in: 0..<200, using: &random)
    let resources = (0..<count).map { number in
      resource(
        "r\(number)", namespace: "n\(number % 7)",
        body: String(repeating: "x", count: Int.random(in: 0..<3000, using: &random)))
    }
    let older = Position(
      origin: "mesh", sequence: 7, published: ArchiveTests.noon, path: ArchiveTests.place.path)
    let content = [virtualService: Collection(resources), gateway: .empty]
    let bytes = ArchiveTests.file(
      content, positions: [gateway: older], piece: Int.random(in: 1..<5000, using: &random))
    let found = try ArchiveTests.read(bytes) { Int.random(in: 1..<4000, using: &random) }
    #expect(
      found.rejected.isEmpty && found.contents.map(\.type) == [gateway, virtualService], "seed \(seed)")
    #expect(found.contents.map(\.position) == [older, ArchiveTests.place], "seed \(seed)")
    let back = found.contents[1].collection
    #expect(back.version == content[virtualService]?.version && back.count == count, "seed \(seed)")
    #expect(
      back.resources.map(\.encoded) == content[virtualService]?.resources.map(\.encoded), "seed \(seed)")
    #expect(back.resources.allSatisfy { $0.source == "up" }, "it is of the source that it stands in for")
    var header = ArchiveTests.header(content)
    (header.types, header.resources) = (2, count)
    #expect(found.header == header, "seed \(seed)")
  }

  @Test func everyChangedByteIsNoticed() throws {
    let bytes = ArchiveTests.file(ArchiveTests.small())
    for index in bytes.indices {
      for mask: UInt8 in [1, 0x80, 0xFF] {
        var damaged = bytes
        damaged[index] ^= mask
        #expect(throws: ArchiveError.self, "byte \(index) of \(bytes.count), mask \(mask)") {
          try ArchiveTests.read(damaged)
        }
      }
    }
  }

  @Test func everyEarlyEndIsNoticed() throws {
    let bytes = ArchiveTests.file(ArchiveTests.small())
    for count in 0..<bytes.count {
      do {
        _ = try ArchiveTests.read(Array(bytes[..<count]))
        Issue.record("\(count) of \(bytes.count) bytes were taken for a whole file")
      } catch let error as ArchiveError {
        if count == 0 {
          #expect(error == .empty)
        } else {
          #expect(error.what.contains("cut short"), "\(count)")
        }
      }
    }
    #expect(throws: ArchiveError.trailing(offset: bytes.count)) { try ArchiveTests.read(bytes + [0]) }
  }

  @Test func blocksInAnotherOrderAreNoticed() throws {
    let bytes = ArchiveTests.file(ArchiveTests.small())
    let twice = ArchiveTests.file([
      virtualService: Collection([resource("a"), resource("b", body: "other"), resource("c")])
    ])
    // The second half of one file behind the first half of another: each block is one that was written.
    for cut in stride(from: 12, to: bytes.count, by: 1) {
      let mixed = Array(bytes[..<cut]) + Array(twice[min(cut, twice.count)...])
      if mixed == twice || mixed == bytes { continue }
      #expect(throws: ArchiveError.self, "cut at \(cut)") { try ArchiveTests.read(mixed) }
    }
  }

  @Test func aWholeBlockOfAnotherFileIsNoticed() throws {
    func blocks(_ body: String) -> [[UInt8]] {
      let content = [virtualService: Collection([resource("a"), resource("b", body: body)])]
      var writer = ArchiveWriter(ArchiveTests.header(content), content)
      var found: [[UInt8]] = []
      while true {
        let next = writer.next(1)
        if next.isEmpty { return found }
        found.append(next)
      }
    }
    let (ours, theirs) = (blocks("mine"), blocks("your"))
    #expect(ours.count == 5 && ours.map(\.count) == theirs.map(\.count), "header, type, two objects, end")
    for place in ours.indices {
      var mixed = ours
      mixed[place] = theirs[place]
      // The reader alone: what the objects say is not asked.
      var reader = ArchiveReader(resourceBytesMost: 1 << 20)
      #expect(throws: ArchiveError.self, "block \(place)") {
        _ = try reader.receive(mixed.flatMap { $0 })
        try reader.finish()
      }
    }
  }

  @Test func otherFilesAreNamedForWhatTheyAre() throws {
    let bytes = ArchiveTests.file(ArchiveTests.small())
    #expect(throws: ArchiveError.foreign) { try ArchiveTests.read(Array("apiVersion: v1\n".utf8)) }
    // Taken for text on the way: carriage returns went.
    #expect(throws: ArchiveError.foreign) { try ArchiveTests.read(bytes.filter { $0 != 0x0D }) }
    var newer = bytes
    newer[11] = 2
    #expect(throws: ArchiveError.newerFormat(2)) { try ArchiveTests.read(newer) }
    #expect(ArchiveError.newerFormat(2).description.contains("Upgrade this host"))
  }

  @Test func whatBreaksARuleIsSetAsideAlone() throws {
    var limits = Limits()
    limits.resourceBytes = 600
    let big = resource("big", body: String(repeating: "x", count: 500))
    let bytes = ArchiveTests.file([virtualService: Collection([resource("a"), big, resource("c")])])
    #expect(throws: ArchiveError.self) { try ArchiveTests.read(bytes, limits: limits) }
    // A kind of another body: the file is whole, and the object is none.
    let wrong = try Admission.admit(
      type: TypeName(group: "example.org", kind: "Thing"), draft: draft("t"), limits: Limits())
    let odd = [gateway: Collection([]), virtualService: Collection([resource("a")])]
    var writer = ArchiveWriter(
      ArchiveTests.header(odd), [gateway: Collection([wrong]), virtualService: Collection([resource("a")])])
    let found = try ArchiveTests.read(writer.next(1_000_000))
    #expect(found.rejected.map(\.resource) == ["networking.istio.io/Gateway prod/t"])
    #expect(found.contents[0].setAside == ["prod/t"] && found.contents[0].collection.isEmpty)
    #expect(found.contents[1].collection.count == 1)
  }

  @Test func aSnapshotOfAHundredMegabytesIsNotHeldTwice() throws {
    let body = String(repeating: "x", count: 4096)
    let content = [
      virtualService: Collection((0..<25_000).map { resource("r\($0)", body: body + String($0)) })
    ]
    var writer = ArchiveWriter(ArchiveTests.header(content), content)
    var reader = ArchiveReader(resourceBytesMost: 1 << 20)
    let before = ArchiveTests.residentBytes
    var (bytes, most) = (0, 0)
    while true {
      let piece = writer.next(512 * 1024)
      if piece.isEmpty { break }
      bytes += piece.count
      for item in try reader.receive(piece) {
        guard case .resource(let encoded) = item else { continue }
        #expect(encoded.count > 4096)
      }
      most = max(most, ArchiveTests.residentBytes - before)
    }
    try reader.finish()
    #expect(bytes > 100 << 20)
    #expect(most < 16 << 20, "\(most) bytes beside the snapshot")
  }

  /// Of this process.
  private static var residentBytes: Int {
    guard let file = unsafe fopen("/proc/self/statm", "r") else { return 0 }
    defer { unsafe fclose(file) }
    var line = [CChar](repeating: 0, count: 128)
    guard unsafe fgets(&line, 128, file) != nil else { return 0 }
    let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    let pages = text.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
    return pages * Int(sysconf(Int32(_SC_PAGESIZE)))
  }

  /// Whoever can write a file can also write its hashes: what is behind them must be no more believed.
  @Test(arguments: 0..<300 as Range<UInt64>) func damageBehindSoundHashesNeverTraps(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let content = ArchiveTests.small()
    var writer = ArchiveWriter(ArchiveTests.header(content), content)
    var blocks: [[UInt8]] = []
    while true {
      let next = writer.next(1)
      if next.isEmpty { break }
      blocks.append(next)
    }
    // The first of them stands behind the magic.
    let magic = SnapshotArchive.magic + SnapshotArchive.bigEndian(SnapshotArchive.format)
    blocks[0].removeFirst(magic.count)
    var contents = blocks.map { block in
      (kind: block[0], payload: Array(block[5..<block.count - SHA256.byteCount]))
    }
    for _ in 0..<Int.random(in: 1...3, using: &random) {
      let place = Int.random(in: 0..<contents.count, using: &random)
      switch Int.random(in: 0..<5, using: &random) {
      case 0: contents.swapAt(place, Int.random(in: 0..<contents.count, using: &random))
      case 1: contents.insert(contents[place], at: Int.random(in: 0...contents.count, using: &random))
      case 2 where contents.count > 1: contents.remove(at: place)
      case 3: contents[place].payload.removeLast(min(contents[place].payload.count, 7))
      default:
        for _ in 0..<4 where !contents[place].payload.isEmpty {
          let at = Int.random(in: 0..<contents[place].payload.count, using: &random)
          contents[place].payload[at] = UInt8.random(in: 0...255, using: &random)
        }
      }
    }
    var (file, chain) = (magic, SnapshotArchive.root)
    for (kind, payload) in contents {
      let head = [kind] + SnapshotArchive.bigEndian(UInt32(payload.count)) + payload
      chain = SHA256.hash(chain + head)
      file += head + chain
    }
    do {
      let found = try ArchiveTests.read(file) { Int.random(in: 1...400, using: &random) }
      let admitted = found.contents.reduce(0) { $0 + $1.collection.count }
      #expect(
        admitted + found.rejected.count >= found.header.resources,
        "seed \(seed): nothing gets lost in silence")
    } catch let error as ArchiveError {
      #expect(!error.what.isEmpty && !error.howToFix.isEmpty, "seed \(seed)")
    }
  }

  @Test func aHeaderThatPromisesOtherContentIsNotBelieved() throws {
    let content = ArchiveTests.small()
    var header = ArchiveTests.header(content)
    header.version = Version(hashing: [1])
    var writer = ArchiveWriter(header, content)
    let bytes = writer.next(1_000_000)
    do {
      _ = try ArchiveTests.read(bytes)
      Issue.record("it was believed")
    } catch let error as ArchiveError {
      #expect(error.what.contains("not the version that its header names"))
    }
  }
}
