// Goal: messages come out as they went in, wherever DATA frames are cut; hostile prefixes cost nothing.
// Method: one message list split at every byte; every flag 0…255; the largest length.

import GRPC
import Primitives
import Testing

@Suite struct FramingTests {
  let messages: [[UInt8]] = [[], [1], [2, 3], [UInt8](repeating: 7, count: 300), [], [9, 9, 9]]
  var stream: [UInt8] { messages.flatMap { MessageFramer.framed($0[...]) } }

  /// Appends and takes all messages there are, or the error.
  func take(_ deframer: inout MessageDeframer, _ bytes: [UInt8]) throws(GRPCStatus) -> [[UInt8]] {
    unsafe bytes.withUnsafeBytes { unsafe deframer.append($0) }
    var taken: [[UInt8]] = []
    while let message = try deframer.next() { taken.append(message) }
    return taken
  }

  @Test func prefixIsBigEndian() {
    #expect(MessageFramer.framed([]) == [0, 0, 0, 0, 0])
    #expect(MessageFramer.framed([], bodyBytes: 0x0102_0304) == [0, 1, 2, 3, 4])
    #expect(MessageFramer.framed([], bodyBytes: 0xffff_ffff) == [0, 255, 255, 255, 255])
  }

  @Test func splitAtEveryByte() throws {
    for place in 0...stream.count {
      var deframer = MessageDeframer(maximumBytes: 300)
      var taken = try take(&deframer, Array(stream[..<place]))
      taken += try take(&deframer, Array(stream[place...]))
      #expect(taken == messages, "split at \(place)")
      #expect(deframer.isBetweenMessages && deframer.bufferedBytes == 0)
    }
  }

  @Test(arguments: [1, 2, 3, 5, 64])
  func inPieces(of size: Int) throws {
    var deframer = MessageDeframer(maximumBytes: 300)
    var taken: [[UInt8]] = []
    for start in stride(from: 0, to: stream.count, by: size) {
      taken += try take(&deframer, Array(stream[start..<min(start + size, stream.count)]))
    }
    #expect(taken == messages)
  }

  @Test func everyFlag() {
    for flag in UInt8(0)...255 {
      var deframer = MessageDeframer(maximumBytes: 10, compressedStatus: .unimplemented)
      let result = Result { () throws(GRPCStatus) in try take(&deframer, [flag, 0, 0, 0, 1, 42]) }
      switch (flag, result) {
      case (0, .success(let taken)): #expect(taken == [[42]])
      case (1, .failure(let status)): #expect(status.code == .unimplemented)
      case (2..., .failure(let status)): #expect(status.code == .internalError)
      default: Issue.record("flag \(flag): \(result)")
      }
    }
  }

  @Test(arguments: [[0, 255, 255, 255, 255], [0, 0, 0, 0, 11], [0, 128, 0, 0, 0]] as [[UInt8]])
  func oversizeIsRefusedFromItsPrefix(prefix: [UInt8]) {
    var deframer = MessageDeframer(maximumBytes: 10)
    #expect { try take(&deframer, prefix) } throws: { ($0 as? GRPCStatus)?.code == .resourceExhausted }
    #expect { try take(&deframer, [UInt8](repeating: 1, count: 5000)) } throws: {
      ($0 as? GRPCStatus)?.code == .resourceExhausted
    }
    #expect(deframer.bufferedBytes == 0)
  }

  @Test func messagesBeforeTheFaultAreDelivered() throws {
    var deframer = MessageDeframer(maximumBytes: 10)
    let bytes = MessageFramer.framed([5, 6]) + [9, 0, 0, 0, 0]
    unsafe bytes.withUnsafeBytes { unsafe deframer.append($0) }
    #expect(try deframer.next() == [5, 6])
    #expect { try deframer.next() } throws: { ($0 as? GRPCStatus)?.code == .internalError }
  }

  @Test func partOfAMessageIsCounted() throws {
    var deframer = MessageDeframer(maximumBytes: 10)
    #expect(deframer.isBetweenMessages)
    #expect(try take(&deframer, [0, 0]) == [])
    #expect(!deframer.isBetweenMessages)
    #expect(try take(&deframer, [0, 0, 4, 1, 2, 3]) == [])
    #expect(deframer.bufferedBytes == 3)
    #expect(try take(&deframer, [4]) == [[1, 2, 3, 4]])
  }
}
