// Goal: the reader takes what protobuf allows, refuses the rest with its reason, and never traps.
// Method: hand-made bytes; every prefix of a valid message; random bytes.

import Primitives
import Testing

@testable import Snapshots

struct ProtobufReaderTests {
  private func firstError(_ bytes: [UInt8]) -> ProtobufError? {
    var reader = ProtobufReader(bytes)
    do throws(ProtobufError) {
      while let field = try reader.next() { _ = try? reader.string(field) }
      return nil
    } catch {
      return error
    }
  }

  @Test func refusesWithReason() {
    #expect(firstError([0x0A]) == .truncated(offset: 1))
    #expect(firstError([0x0A, 5, 1]) == .truncated(offset: 2))
    #expect(firstError([0x09, 1, 2]) == .truncated(offset: 1))
    #expect(firstError([0x00, 1]) == .badTag(offset: 0))
    #expect(firstError([0x0B]) == .badTag(offset: 0), "groups are not read")
    #expect(firstError([0x80]) == .truncated(offset: 0))
    let eleven = [UInt8](repeating: 0xFF, count: 10) + [1]
    #expect(firstError([0x08] + eleven) == .malformedInteger(offset: 1))
    let huge: [UInt8] = [0x0A, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]
    #expect(firstError(huge) == .truncated(offset: 11))
  }

  @Test func readsIntegersOfEveryLength() throws {
    for shift in 0..<64 {
      let value = Int64(bitPattern: UInt64(1) << UInt64(shift))
      var reader = ProtobufReader(ProtobufWriter.fields { $0.integer(3, value) })
      let field = try #require(try reader.next())
      #expect(try reader.integer(field) == UInt64(bitPattern: value))
    }
  }

  @Test func everyPrefixOfAMessageEndsInAnErrorOrAtAField() {
    let bytes = ProtobufWriter.fields { writer in
      writer.string(1, "name")
      writer.integer(2, 300)
      writer.message(3) { $0.string(1, "inner") }
    }
    let borders = [0, 6, 9, bytes.count]
    for count in 0...bytes.count {
      #expect(
        (firstError(Array(bytes.prefix(count))) == nil) == borders.contains(count), "prefix of \(count)")
    }
  }

  @Test func randomBytesNeverTrap() {
    var generator = SeededGenerator(seed: 7)
    for _ in 0..<20_000 {
      let count = Int.random(in: 0..<40, using: &generator)
      let bytes = (0..<count).map { _ in UInt8.random(in: 0...255, using: &generator) }
      _ = firstError(bytes)
      _ = try? EncodedAny(ProtobufReader(bytes))
      _ = try? ProtobufReader.mapEntry(ProtobufReader(bytes))
    }
  }
}
