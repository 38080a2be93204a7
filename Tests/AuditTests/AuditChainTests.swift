// Goal: lines are what docs/audit.md says, whatever goes into them. Method: exact text for a small log, and the
// same record by both ways of making it; OpenSSL's hash as the judge of `prev`.

import Digest
import Primitives
import Testing

@testable import Audit

@Test func linesAreWhatTheContractSays() {
  var chain = AuditChain(after: .none)
  var bytes: [UInt8] = []
  chain.append(
    AuditRecord(.connect, spiffeID: identity("a"), cluster: "west"), at: Timestamp(milliseconds: 1250),
    to: &bytes)
  let first =
    #"{"time":"1970-01-01T00:00:01.25Z","seq":1,"prev":"\#(String(repeating: "0", count: 64))","event":"connect","#
    + #""spiffeID":"spiffe://example.org/a","cluster":"west"}"#
  #expect(String(decoding: bytes, as: UTF8.self) == first + "\n")
  let hash = Hex.encode(SHA256.hash(Array(first.utf8)))
  #expect(chain.head.description == hash)
  var second: [UInt8] = []
  chain.append(AuditRecord(.stop, reason: "x"), at: Timestamp(seconds: 2), to: &second)
  #expect(
    String(decoding: second, as: UTF8.self)
      == #"{"time":"1970-01-01T00:00:02Z","seq":2,"prev":"\#(hash)","event":"stop","reason":"x"}"# + "\n")
}

@Test func namesAreCutAtAHundredAndCounted() {
  var record = AuditRecord(.publish)
  record.added = NameList((0..<250).map { "ns/name-\($0)" })
  record.removed = NameList([])
  let text = String(decoding: record.tail, as: UTF8.self)
  #expect(text.hasSuffix(#""ns/name-99"],"addedCount":250}"#))
  #expect(!text.contains("ns/name-100") && !text.contains("removed"))
}

@Test func foreignTextIsCutAndHarmless() throws {
  #expect(AuditText.fit("a\u{1B}[2Jb\nc\u{202E}d") == #"a\u{1b}[2Jb\u{a}c\u{202e}d"#)
  let exact = String(repeating: "x", count: 256)
  #expect(AuditText.fit(exact) == exact)
  for length in 257..<270 {
    for unit in ["x", "ü", "€", "😀"] {
      let cut = AuditText.fit(String(repeating: unit, count: length))
      #expect(cut.utf8.count <= 256 && cut.utf8.count > 250 && cut.hasSuffix("…"))
      #expect(cut.dropLast().allSatisfy { String($0) == unit })
    }
  }
  // Whatever a client says, its record is one line that reads back.
  var log = Log()
  for byte in UInt8.min...UInt8.max {
    log.add(AuditRecord(.nack, reason: String(decoding: [byte, 34, 92, byte], as: UTF8.self)))
  }
  #expect(log.lines.count == 256)
  #expect(verdict(log.bytes) == nil)
}

@Test func preparedPiecesMakeTheSameLine() {
  var numbers = PieceNumbers()
  var pieces = KnownPieces()
  var fast = AuditBatch()
  let who = numbers.name(AuditPiece(spiffeID: identity("a"), cluster: "west"), in: &fast)
  let what = numbers.name(AuditPiece(type: "t", version: "v", view: "w", sequence: .max), in: &fast)
  for event in AuditRecord.Event.allCases {
    fast.begin(at: noon)
    fast.append(event, who, what)
    var record = AuditRecord(
      event, spiffeID: identity("a"), cluster: "west", type: "t", version: "v", sequence: .max)
    record.view = "w"
    var (pieced, whole): ([UInt8], [UInt8]) = ([], [])
    var chain = AuditChain(after: .none)
    chain.append(fast, &pieces, to: &pieced)
    chain = AuditChain(after: .none)
    chain.append(record, at: noon, to: &whole)
    #expect(pieced == whole)
    // Named in an earlier batch, they go on in the next.
    fast.removeAll()
  }
  #expect(AuditPiece(type: "t", version: "v", view: "v") == AuditPiece(type: "t", version: "v"))
}

@Test func aNumberMeansWhatItWasGivenForLast() {
  var numbers = PieceNumbers()
  var (one, two) = (AuditBatch(), AuditBatch())
  let what = numbers.name(AuditPiece(type: "t", version: "v"), in: &one)
  let early = numbers.name(AuditPiece(spiffeID: identity("early"), cluster: "c"), in: &one)
  one.begin(at: noon)
  one.append(.deliver, early, what)
  one.append(AuditRecord(.disconnect, spiffeID: identity("early")), at: noon)
  numbers.release(early)
  let between = numbers.name(AuditPiece(type: "t", version: "w"), in: &one)
  #expect(between.number != early.number, "records of this batch may still name it")
  numbers.reuseReleased()
  let late = numbers.name(AuditPiece(spiffeID: identity("late"), cluster: "c"), in: &two)
  #expect(late.number == early.number && numbers.isKnown(late))
  two.begin(at: Timestamp(seconds: noon.seconds + 1))
  two.append(.ack, late, what)
  two.append(AuditRecord(.disconnect, spiffeID: identity("late")), at: Timestamp(seconds: noon.seconds + 1))
  // Both ways lead to the same: one after the other, and joined while the writer was busy.
  var (apart, together): ([UInt8], [UInt8]) = ([], [])
  var (chain, pieces) = (AuditChain(after: .none), KnownPieces())
  for batch in [one, two] { chain.append(batch, &pieces, to: &apart) }
  one.append(two)
  (chain, pieces) = (AuditChain(after: .none), KnownPieces())
  chain.append(one, &pieces, to: &together)
  #expect(apart == together && one.count == 4 && chain.head.seq == 4)
  let lines = apart.split(separator: UInt8(ascii: "\n")).map { String(decoding: $0, as: UTF8.self) }
  #expect(lines.map { $0.contains("/early") } == [true, true, false, false])
  #expect(lines.map { $0.contains("/late") } == [false, false, true, true])
  let times = lines.map { $0.prefix { $0 != "," } }
  #expect(times[0] == times[1] && times[1] != times[2], "each has its own time")
  // A batch that is lost takes its numbers along.
  numbers.startAnew()
  #expect(!numbers.isKnown(late) && !numbers.isKnown(what))
}

@Test func batchesJoinInOrder() {
  var one = AuditBatch(AuditRecord(.connect), at: noon)
  var two = AuditBatch(AuditRecord(.deliver), at: noon)
  two.append(AuditRecord(.ack), at: noon)
  one.append(two)
  var (together, apart): ([UInt8], [UInt8]) = ([], [])
  var (chain, pieces) = (AuditChain(after: .none), KnownPieces())
  chain.append(one, &pieces, to: &together)
  chain = AuditChain(after: .none)
  for event in [AuditRecord.Event.connect, .deliver, .ack] {
    chain.append(AuditRecord(event), at: noon, to: &apart)
  }
  #expect(together == apart)
}

@Test func numbersGrowInOneBatchAsTheyDoInMany() {
  var batch = AuditBatch()
  for _ in 0..<1_105 { batch.append(AuditRecord(.ack), at: noon) }
  var (together, apart): ([UInt8], [UInt8]) = ([], [])
  var (chain, pieces) = (AuditChain(after: .none), KnownPieces())
  chain.append(batch, &pieces, to: &together)
  #expect(chain.head.seq == 1_105)
  #expect(verdict(together) == nil)
  var other = AuditChain(after: .none)
  for _ in 0..<1_105 { other.append(AuditRecord(.ack), at: noon, to: &apart) }
  #expect(together == apart)
  #expect(chain.head == other.head)
}

@Test func aLossStandsInTheRecordThatFollows() {
  var log = Log()
  log.add(AuditRecord(.start))
  log.chain = AuditChain(after: log.chain.head, lost: 12)
  log.add(AuditRecord(.ack))
  log.add(AuditRecord(.ack))
  var verifier = AuditVerifier()
  _ = verifier.begin(file: "f")
  #expect(verifier.receive(log.bytes) == nil)
  #expect(verifier.finish() == nil)
  #expect(verifier.summary.lost == 12)
  #expect(
    log.lines.map { String(decoding: $0, as: UTF8.self).contains(#","lost":12,"event""#) } == [
      false, true, false,
    ])
}
