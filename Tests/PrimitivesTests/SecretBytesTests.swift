// Goal: a secret lies in memory that is locked and left out of core dumps, and nothing prints it.
// Method: what the kernel says of the mapping in /proc/self/smaps, which leaves out nothing else of this process.

import Foundation
import Primitives
import Testing

/// Mappings of this process that core dumps leave out (`dd`), with their flags.
private func undumpedMappings() throws -> [[Substring]] {
  // A file of /proc has no size: it is read to its end.
  let file = try #require(FileHandle(forReadingAtPath: "/proc/self/smaps"))
  let text = String(decoding: try #require(try file.readToEnd()), as: UTF8.self)
  return text.split(separator: "\n")
    .filter { $0.hasPrefix("VmFlags:") }.map { $0.split(separator: " ") }.filter { $0.contains("dd") }
}

private func content(of secret: SecretBytes) -> [UInt8] { unsafe secret.withBytes { unsafe Array($0) } }

@Suite(.serialized) struct SecretBytesTests {
  @Test(arguments: [0, 1, 4_096, 4_097, 10_000])
  func givesBackWhatItWasGiven(_ count: Int) {
    let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7) }
    let secret = SecretBytes(bytes)
    #expect(content(of: secret) == bytes && secret.count == count)
    let copied = unsafe bytes.withUnsafeBytes { unsafe SecretBytes(copying: $0) }
    #expect(content(of: copied) == bytes)
  }

  @Test func isMadeWhereItStays() throws {
    let bytes = (0..<5_000).map { UInt8(truncatingIfNeeded: $0 &* 11) }
    let made = unsafe SecretBytes(count: 5_000) { pages in
      unsafe pages.copyBytes(from: bytes)
      return true
    }
    let secret = try #require(made)
    #expect(content(of: secret) == bytes)
    let failed = unsafe SecretBytes(count: 8) { _ in false }
    #expect(failed == nil)
  }

  @Test func mayBeShorterThanItsRoom() throws {
    let made = unsafe SecretBytes(atMost: 100) { room in
      unsafe room.copyBytes(from: [1, 2, 3])
      return 3
    }
    let secret = try #require(made)
    #expect(content(of: secret) == [1, 2, 3] && secret.count == 3)
    let failed = unsafe SecretBytes(atMost: 100) { _ in nil }
    #expect(failed == nil)
  }

  @Test func aBufferIsWipedWhereItIs() {
    let bytes = [UInt8](repeating: 7, count: 100)
    unsafe bytes.withUnsafeBytes { unsafe wipe(UnsafeRawBufferPointer(rebasing: $0[10..<20])) }
    #expect(
      bytes.prefix(10).allSatisfy { $0 == 7 } && bytes[10..<20].allSatisfy { $0 == 0 } && bytes[20] == 7)
    unsafe wipe(UnsafeRawBufferPointer(start: nil, count: 0))
  }

  @Test func liesInLockedPagesOfItsOwn() throws {
    let secret = SecretBytes([UInt8](repeating: 0x5A, count: 64))
    let found = try undumpedMappings()
    // Neighbours of one kind are one mapping to the kernel, so their number says nothing.
    #expect(!found.isEmpty)
    if secret.isLocked { #expect(found.contains { $0.contains("lo") }) }
    withExtendedLifetime(secret) {}
  }

  @Test func nobodyPrintsIt() {
    let secret = SecretBytes(Array("very secret".utf8))
    var text = "\(secret) \(String(reflecting: secret))"
    dump(secret, to: &text)
    #expect(!text.contains("very") && !text.contains("118"))
  }
}
