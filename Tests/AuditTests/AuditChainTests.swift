// Goal: lines are what docs/audit.md says, whatever goes into them. Method: exact text for a small log, and the
// same record by both ways of making it; OpenSSL's hash as the judge of `prev`.

import Audit
import Digest
import Primitives
import Testing

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
  let who = AuditPiece(spiffeID: identity("a"), cluster: "west")
  let what = AuditPiece(type: "t", version: "v", view: "w", sequence: .max)
  for event in AuditRecord.Event.allCases {
    var fast = AuditBatch()
    fast.append(event, who, what, at: noon)
    var record = AuditRecord(
      event, spiffeID: identity("a"), cluster: "west", type: "t", version: "v", sequence: .max)
    record.view = "w"
    #expect(fast.bytes == record.tail)
  }
  #expect(AuditPiece(type: "t", version: "v", view: "v") == AuditPiece(type: "t", version: "v"))
}

@Test func batchesJoinInOrder() {
  var one = AuditBatch(AuditRecord(.connect), at: noon)
  var two = AuditBatch(AuditRecord(.deliver), at: noon)
  two.append(AuditRecord(.ack), at: noon)
  one.append(two)
  var (together, apart): ([UInt8], [UInt8]) = ([], [])
  var chain = AuditChain(after: .none)
  chain.append(one, to: &together)
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
  var chain = AuditChain(after: .none)
  chain.append(batch, to: &together)
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
