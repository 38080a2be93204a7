// Goal: no change of a log escapes: not one bit, not one line, not its end. Method: a sample log with a signed end,
// every single-bit change, every line dropped, doubled, swapped and replaced, every cut; the verifier is a value, so
// each mutation starts from the state before its line.

import Audit
import Primitives
import TestCertificates
import Testing

struct AuditVerifierTests {
  @Test func aSoundLogVerifiesInPiecesOfAnySize() {
    let log = Log.sample
    for pieces in [1, 2, 7, 100, 1000, .max] { #expect(verdict(log.bytes, pieces: pieces) == nil) }
    var verifier = AuditVerifier(heads: [log.chain.head.description])
    _ = verifier.begin(file: "f")
    #expect(verifier.receive(log.bytes) == nil)
    #expect(verifier.finish() == nil)
    let summary = verifier.summary
    #expect(summary.records == 8 && summary.first == 1 && summary.head == log.chain.head)
    #expect(summary.checkpoints == 1 && summary.witness?.certificates == log.signer.chain)
  }

  @Test func everyChangedBitIsFound() {
    let lines = Log.sample.lines
    var verifier = AuditVerifier()
    _ = verifier.begin(file: "f")
    for index in lines.indices {
      let rest = file(Array(lines[index...]))
      // The newline too: it may vanish or become something else.
      for offset in 0...lines[index].count {
        for bit in 0..<8 {
          var changed = rest
          changed[offset] ^= 1 << UInt8(bit)
          var judge = verifier
          let fault = judge.receive(changed) ?? judge.finish()
          #expect(fault != nil, "bit \(bit) of byte \(offset) of line \(index + 1)")
        }
      }
      #expect(verifier.receive(file([lines[index]])) == nil)
    }
  }

  @Test func everyMissingDoubledAndMovedLineIsFound() {
    let lines = Log.sample.lines
    for index in lines.indices {
      var dropped = lines
      dropped.remove(at: index)
      let head = Log.sample.chain.head.description
      #expect(verdict(file(dropped), heads: [head]) != nil, "line \(index + 1) dropped")
      if index < lines.count - 1 { #expect(verdict(file(dropped)) != nil) }
      for other in lines.indices {
        var inserted = lines
        inserted.insert(lines[index], at: other)
        #expect(verdict(file(inserted)) != nil, "line \(index + 1) again at \(other + 1)")
        guard other != index else { continue }
        var swapped = lines
        swapped.swapAt(index, other)
        #expect(verdict(file(swapped)) != nil, "lines \(index + 1) and \(other + 1) swapped")
        var replaced = lines
        replaced[index] = lines[other]
        #expect(verdict(file(replaced)) != nil, "line \(index + 1) replaced by \(other + 1)")
      }
    }
  }

  @Test func everyCutIsFoundAgainstItsHead() {
    let log = Log.sample
    let head = log.chain.head.description
    for count in 0..<log.bytes.count {
      #expect(verdict(Array(log.bytes[..<count]), heads: [head]) != nil, "cut at \(count)")
    }
    #expect(verdict(log.bytes, heads: [head]) == nil)
    #expect(
      verdict(log.bytes, heads: [String(repeating: "0", count: 64)])?.kind
        == .headMissing(String(repeating: "0", count: 64)))
  }

  /// A forger can make a chain of his own, but no signature and no head that was noted elsewhere.
  @Test func aRewrittenLogDoesNotHaveTheSignature() {
    var forged = Log()
    for event in [AuditRecord.Event.start, .connect] { forged.add(AuditRecord(event)) }
    let signed = Log.sample
    let lines = forged.lines + [signed.lines[7]]
    #expect(verdict(file(lines))?.kind == .missingLines(expected: 3, found: 8))
  }

  @Test func faultsSayWhereAndWhy() {
    let lines = Log.sample.lines
    func fault(_ change: (inout [[UInt8]]) -> Void) -> String {
      var changed = lines
      change(&changed)
      return verdict(file(changed))?.description ?? ""
    }
    #expect(
      fault { $0[2] = Array(String(decoding: $0[2], as: UTF8.self).replacing("\"a\"", with: "\"b\"").utf8) }
        == "f:4: prev is not the hash of the line before, f:3. one of the two was changed, or the lines between them are missing."
    )
    #expect(
      fault { $0.removeSubrange(3...4) }
        == "f:4: seq is 6 where 4 has to follow. the 2 records before it were taken out.")
    #expect(
      fault { $0.insert($0[1], at: 2) }
        == "f:3: seq is 2 where 3 has to follow. records were moved, repeated or put in.")
    #expect(
      fault { $0.removeFirst() }
        == "f:1: the log begins with seq 2. the records before it were taken out, or the files that hold them were not given."
    )
    #expect(
      fault { $0[4] = Array("hello".utf8) }
        == "f:5: this is no line of an audit log. it was changed, or another program wrote into the file.")
    #expect(verdict([])?.kind == .empty)
    #expect(verdict(file(lines).dropLast())?.kind == .unended)
    let long = [UInt8](repeating: UInt8(ascii: "x"), count: AuditLine.bytesMost + 1)
    #expect(verdict(long, pieces: 4096)?.kind == .tooLong)
  }

  @Test func filesOfOneLogAreVerifiedTogetherAndFromARotationOn() {
    var first = Log()
    first.add(AuditRecord(.start))
    first.add(AuditRecord(.connect))
    var second = Log()
    second.chain = first.chain
    second.checkpoint(AuditRotation.reason)
    second.add(AuditRecord(.ack))
    func verdict(_ files: [[UInt8]]) -> AuditFault.Kind? {
      var verifier = AuditVerifier()
      for (index, bytes) in files.enumerated() {
        if let fault = verifier.begin(file: "f\(index)") ?? verifier.receive(bytes) { return fault.kind }
      }
      return verifier.finish()?.kind
    }
    #expect(verdict([first.bytes, second.bytes]) == nil)
    // Older files may have been removed by age: a later one stands for itself.
    #expect(verdict([second.bytes]) == nil)
    #expect(verdict([file(Array(second.lines[1...]))]) == .beginsInside(seq: 4))
    #expect(verdict([file([first.lines[0]]), second.bytes]) == .missingLines(expected: 2, found: 3))
    #expect(verdict([second.bytes, first.bytes]) == .outOfOrder(expected: 5, found: 1))
    #expect(verdict([first.bytes.dropLast(), second.bytes]) == .unended)
  }

  @Test func aCheckpointWithoutIdentityClaimsNothing() {
    var log = Log()
    log.checkpoint(signed: false)
    var verifier = AuditVerifier()
    _ = verifier.begin(file: "f")
    #expect(verifier.receive(log.bytes) == nil && verifier.finish() == nil)
    #expect(verifier.summary.checkpoints == 1 && verifier.summary.witness == nil)
  }

  /// Another relay's certificate under a genuine signature.
  @Test func aSignatureBelongsToItsCertificate() {
    var log = Log()
    log.add(AuditRecord(.start))
    let other = Signer()
    log.chain.appendCheckpoint(
      reason: nil, at: noon, certificates: other.chain, to: &log.bytes, sign: log.signer.sign)
    guard case .badSignature? = verdict(log.bytes)?.kind else {
      Issue.record("a foreign certificate was taken")
      return
    }
  }

  @Test func linesThatARelayWouldNotWriteAreNone() {
    let sound =
      #"{"time":"1970-01-01T00:00:01Z","seq":1,"prev":"\#(String(repeating: "0", count: 64))","event":"ack"}"#
    #expect(AuditLine(Array(sound.utf8)[...]) != nil)
    for (old, new) in [
      ("\"seq\":1", "\"seq\":01"), ("\"seq\":1", "\"seq\":-1"), ("\"seq\":1", "\"seq\":0"),
      ("\"seq\":1", "\"seq\":18446744073709551616"), ("\"seq\":1", "\"seq\":1e3"),
      ("\"seq\":1", "\"seq\": 1"),
      ("01Z", "01.0Z"), ("01Z", "01+00:00"), ("1970-01", "1970-13"), ("\"0000", "\"000A"),
      ("0\",\"ev", "\",\"ev"),
      ("}", "}}"), ("}", "} "), ("}", ",}"), ("}", ",\"a\":{}}"), ("}", ",\"a\":true}"), ("}", ""),
      ("}", ",\"a\":[\"b\",]}"), ("}", ",\"a\":\"\\x\"}"), ("}", ",\"a\":\"\\u12\"}"), ("ack", "a\u{1}k"),
      ("\"event\":\"ack\"", "\"evenu\":\"ack\""), ("\"event\"", "\"lost\":0,\"event\""),
    ] {
      #expect(
        AuditLine(Array(sound.replacing(old, with: new, maxReplacements: 1).utf8)[...]) == nil, "\(new)")
    }
    #expect(AuditLine((Array(sound.utf8).dropLast(2) + [0xFF, 0x22, 0x7D])[...]) == nil)
  }

  @Test func damagedBytesNeverTrap() {
    var generator = SeededGenerator(seed: 11)
    let sample = Log.sample.bytes
    for _ in 0..<2000 {
      var bytes = Array(sample[..<Int.random(in: 0...sample.count, using: &generator)])
      for _ in 0..<Int.random(in: 0...4, using: &generator) where !bytes.isEmpty {
        bytes[Int.random(in: bytes.indices, using: &generator)] = UInt8.random(in: 0...255, using: &generator)
      }
      _ = verdict(bytes, pieces: Int.random(in: 1...500, using: &generator))
    }
  }
}
