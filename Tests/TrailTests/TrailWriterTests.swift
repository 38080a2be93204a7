// Goal: what was handed over is written once, in an order that can be read, and told to its lane; a crash, a full
// disk, a file that is taken away or grows lead to a log that verifies or says what it lost. Method: the writer with
// an inline worker on real files, in folders of a small file system where one may be mounted; the verifier judges.

import Audit
import Glibc
import Primitives
import Synchronization
import TLS
import TestCertificates
import Testing

@testable import Trail

struct TrailWriterTests {
  private let signer = TestAuthority("example.org").issue("spiffe://example.org/relay")

  private func hand(_ lane: AuditLane, _ event: AuditRecord.Event, bytes: Int = 0) {
    lane.hand(AuditBatch(AuditRecord(event, reason: String(repeating: "x", count: bytes)), at: noon))
  }

  private func trailSigner(until end: Timestamp = Timestamp(milliseconds: .max)) throws -> TrailSigner {
    let key = try PrivateKey(der: signer.secret)
    return TrailSigner(certificates: signer.chain, notAfter: end, sign: { key.sign($0) })
  }

  /// The next signature vouches for all lines before it, so that nothing is lost by one that is left out.
  @Test func whoMayNotSignDoesNot() throws {
    let folder = TemporaryFolder()
    let trail = writer(folder)
    trail.begin(AuditRecord(.start), now: noon)
    func isSigned() -> Bool {
      trail.checkpoint(now: noon)
      return trail.facts.isSigned
    }
    #expect(!isSigned(), "nobody is there to sign")
    trail.adopt(try trailSigner(until: noon))
    #expect(isSigned(), "the last moment of its life")
    trail.adopt(try trailSigner(until: Timestamp(milliseconds: noon.milliseconds - 1)))
    #expect(!isSigned(), "expired")
    trail.adopt(try trailSigner())
    #expect(isSigned())
    trail.adopt(nil)
    #expect(!isSigned(), "taken back")
    #expect(events(of: [folder.bytes()]) == ["start"] + Array(repeating: "checkpoint", count: 5))
  }

  @Test func recordsOfAllLanesAreChainedAndCommitted() throws {
    let folder = TemporaryFolder()
    let trail = writer(folder)
    // Before the start nothing is written, and nothing is lost.
    hand(trail.serving[1], .deliver)
    hand(trail.publisher, .publish)
    hand(trail.control, .policy)
    #expect(trail.serving[1].committed == 0)
    trail.begin(AuditRecord(.start), now: noon)
    #expect(events(of: [folder.bytes()]) == ["start", "policy", "publish", "deliver"])
    #expect(trail.serving[1].committed == 1 && trail.publisher.committed == 1)
    hand(trail.serving[0], .ack)
    trail.adopt(try trailSigner())
    trail.checkpoint(now: noon)
    let facts = trail.facts
    #expect(facts.records == 6 && facts.isSigned && facts.checkpoint == facts.head)
    #expect(facts.bytes == UInt64(folder.bytes().count))
    #expect(
      events(of: [folder.bytes()], heads: [facts.head.description])
        == ["start", "policy", "publish", "deliver", "ack", "checkpoint"])
    #expect(folder.mode("audit.jsonl") == 0o640 && folder.mode("audit.jsonl.lock") == 0o600)
  }

  @Test func theNextProcessGoesOn() {
    let folder = TemporaryFolder()
    for _ in 0..<3 {
      let trail = writer(folder, sync: true)
      trail.begin(AuditRecord(.start), now: noon)
      hand(trail.control, .stop)
      trail.release()
    }
    #expect(events(of: [folder.bytes()]) == ["start", "stop", "start", "stop", "start", "stop"])
  }

  @Test func aSecondRelayIsRefused() throws {
    let folder = TemporaryFolder()
    let trail = writer(folder)
    trail.begin(AuditRecord(.start), now: noon)
    var other = TrailFile(TrailSettings(path: folder.log))
    #expect(throws: TrailError.locked(path: folder.log)) { try other.takeLock() }
    let second = writer(folder)
    second.begin(AuditRecord(.start), now: noon)
    #expect(second.facts.failure == .locked(path: folder.log))
    trail.release()
    second.retry()
    #expect(second.facts.failure == nil)
    #expect(events(of: [folder.bytes()]) == ["start", "start", "checkpoint"])
    second.release()
  }

  @Test func filesAreRotatedAndTheChainGoesOn() {
    let folder = TemporaryFolder()
    let trail = writer(folder, maxBytes: 2000)
    trail.begin(AuditRecord(.start), now: noon)
    for _ in 0..<30 { hand(trail.serving[0], .ack, bytes: 100) }
    let names = folder.names.filter { $0 != "audit.jsonl.lock" }
    #expect(names.count > 3 && names[1] == "audit.jsonl.000000000001")
    let files = (names[1...] + names[..<1]).map { folder.bytes($0) }
    #expect(files.dropLast().allSatisfy { $0.count >= 2000 && $0.count < 2600 })
    let all = events(of: files)
    #expect(all.count { $0 == "ack" } == 30 && all.count { $0 == "checkpoint" } == names.count - 1)
    // Every later file stands for itself.
    for index in files.indices { _ = events(of: Array(files[index...])) }
    trail.release()
    // A start finds its place even between a rename and the first line of the new file.
    unsafe unlink(folder.log)
    let next = writer(folder, maxBytes: 2000)
    next.begin(AuditRecord(.start), now: noon)
    #expect(events(of: files.dropLast() + [folder.bytes()]).suffix(2) == ["checkpoint", "start"])
    next.release()
  }

  @Test func filesThatAreTooOldAreRemoved() {
    let folder = TemporaryFolder()
    let trail = writer(folder, maxBytes: 1000)
    trail.begin(AuditRecord(.start), now: noon)
    for _ in 0..<10 { hand(trail.serving[0], .ack, bytes: 200) }
    folder.write([1], to: "audit.jsonl.bak")
    folder.write([1], to: "audit.jsonl.torn-000000000007")
    let closed = folder.names.filter { $0.hasPrefix("audit.jsonl.0") || $0.contains("torn") }
    #expect(closed.count > 2)
    let now = Int64(time(nil))
    trail.removeOldFiles(now: Timestamp(seconds: now))
    #expect(trail.facts.removedFiles == [])
    trail.removeOldFiles(now: Timestamp(seconds: now + 31 * 86_400))
    #expect(trail.facts.removedFiles == closed)
    #expect(folder.names == ["audit.jsonl", "audit.jsonl.bak", "audit.jsonl.lock"])
    _ = events(of: [folder.bytes()])
    trail.release()
  }

  /// A crash may leave any part of the newest batch.
  @Test func aTornEndIsMovedAwayAndNamed() {
    let sound = TemporaryFolder()
    let first = writer(sound)
    first.begin(AuditRecord(.start), now: noon)
    hand(first.serving[0], .deliver)
    hand(first.serving[0], .ack)
    first.release()
    let bytes = sound.bytes()
    let ends = bytes.indices.filter { bytes[$0] == UInt8(ascii: "\n") }.map { $0 + 1 }
    for cut in 1..<bytes.count {
      let folder = TemporaryFolder()
      folder.write(Array(bytes[..<cut]))
      let trail = writer(folder)
      trail.begin(AuditRecord(.start), now: noon)
      let whole = ends.last { $0 <= cut } ?? 0
      let after = events(of: [folder.bytes()])
      #expect(after.count == ends.count { $0 <= cut } + 1)
      let torn = folder.names.filter { $0.contains(".torn-") }
      #expect(torn.count == (whole == cut ? 0 : 1))
      #expect(trail.facts.torn == torn.first)
      if let name = torn.first {
        #expect(folder.bytes(name) == Array(bytes[whole..<cut]))
        #expect(name == "audit.jsonl.torn-00000000000\(ends.count { $0 <= cut } + 1)")
        #expect(String(decoding: folder.bytes(), as: UTF8.self).contains(#""torn":"\#(name)"#))
      }
      trail.release()
    }
  }

  @Test func aFileOfSomethingElseIsMovedAwayWhole() {
    let folder = TemporaryFolder()
    folder.write(Array("this is no audit log\nat all\n".utf8))
    let trail = writer(folder)
    trail.begin(AuditRecord(.start), now: noon)
    #expect(events(of: [folder.bytes()]) == ["start"])
    #expect(folder.bytes("audit.jsonl.torn-000000000001") == Array("this is no audit log\nat all\n".utf8))
    trail.release()
  }

  @Test(.enabled(if: TemporaryFolder.mayMount, "may not mount"))
  func aFullDiskHoldsEverythingUntilThereIsRoom() {
    let folder = TemporaryFolder(bytes: 64 << 10)
    let trail = writer(folder)
    trail.begin(AuditRecord(.start), now: noon)
    folder.write([UInt8](repeating: 1, count: 52 << 10), to: "filler")
    var handed = 0
    while trail.facts.failure == nil, handed < 1000 {
      hand(trail.serving[0], .deliver, bytes: 100)
      handed += 1
    }
    #expect(trail.facts.failure == .full(path: folder.log))
    #expect(trail.serving[0].committed == UInt64(handed - 1))
    // What is there is whole lines, all the time.
    #expect(events(of: [folder.bytes()]).count == handed)
    for _ in 0..<5 { hand(trail.serving[0], .ack) }
    trail.retry()
    #expect(trail.serving[0].committed == UInt64(handed - 1))
    unsafe unlink(folder.path + "/filler")
    trail.retry()
    #expect(trail.facts.failure == nil && trail.facts.lost == 0)
    #expect(trail.serving[0].committed == UInt64(handed + 5))
    #expect(events(of: [folder.bytes()]).count == 1 + handed + 5 + 1)
    trail.release()
  }

  @Test(.enabled(if: TemporaryFolder.mayMount, "may not mount"))
  func goingOnCountsTheLossAndSaysIt() {
    let folder = TemporaryFolder(bytes: 64 << 10)
    let trail = writer(folder, onFailure: .goOn)
    trail.begin(AuditRecord(.start), now: noon)
    folder.write([UInt8](repeating: 1, count: 52 << 10), to: "filler")
    var handed = 0
    while trail.facts.failure == nil, handed < 1000 {
      hand(trail.serving[0], .deliver, bytes: 100)
      handed += 1
    }
    for _ in 0..<5 { hand(trail.serving[0], .ack) }
    // Nobody waits.
    #expect(trail.serving[0].committed == UInt64(handed + 5))
    #expect(trail.facts.lost == 6)
    unsafe unlink(folder.path + "/filler")
    trail.retry()
    hand(trail.serving[0], .ack)
    #expect(trail.facts.failure == nil)
    var verifier = AuditVerifier()
    _ = verifier.begin(file: "f")
    #expect(verifier.receive(folder.bytes()) == nil && verifier.finish() == nil)
    #expect(verifier.summary.lost == 6)
    trail.release()
  }

  @Test func aLogThatCannotBeOpenedIsTriedAgain() {
    let folder = TemporaryFolder()
    let settings = TrailSettings(path: folder.path + "/a/b/audit.jsonl")
    let trail = TrailWriter(
      settings, storage: TrailFile(settings), loops: 1, laneBytes: 1 << 20, worker: InlineWorker())
    trail.begin(AuditRecord(.start), now: noon)
    hand(trail.serving[0], .deliver)
    #expect(trail.facts.failure != nil && !trail.facts.isOpen && trail.serving[0].committed == 0)
    unsafe mkdir(folder.path + "/a", 0o700)
    trail.retry()
    #expect(trail.facts.failure == nil && trail.serving[0].committed == 1)
    trail.release()
    unsafe unlink(folder.path + "/a/b/audit.jsonl")
    unsafe unlink(folder.path + "/a/b/audit.jsonl.lock")
    unsafe rmdir(folder.path + "/a/b")
    unsafe rmdir(folder.path + "/a")
  }

  @Test func aFileThatIsTakenAwayIsMissed() {
    let folder = TemporaryFolder()
    let trail = writer(folder)
    trail.begin(AuditRecord(.start), now: noon)
    let before = folder.bytes()
    unsafe unlink(folder.log)
    hand(trail.serving[0], .ack)
    #expect(trail.serving[0].committed == 1)
    // Nothing hides that lines are gone, and with them the chain is whole.
    var verifier = AuditVerifier()
    _ = verifier.begin(file: "f")
    #expect(verifier.receive(folder.bytes())?.kind == .beginsInside(seq: 2))
    #expect(events(of: [before, folder.bytes()]) == ["start", "checkpoint", "ack"])
    // Another file in its place is not written to.
    folder.write(Array("x".utf8), to: "other")
    unsafe rename(folder.path + "/other", folder.log)
    hand(trail.serving[0], .ack)
    #expect(trail.facts.failure == .replaced(path: folder.log))
    #expect(folder.bytes() == Array("x".utf8))
    trail.release()
  }

  @Test func whatDoesNotFitIsCountedAndSaid() {
    let folder = TemporaryFolder()
    let trail = writer(folder, laneBytes: 1000)
    // Not begun: everything waits.
    for _ in 0..<40 { hand(trail.serving[0], .ack, bytes: 100) }
    trail.begin(AuditRecord(.start), now: noon)
    #expect(trail.serving[0].committed == 40)
    let lost = trail.facts.lost
    #expect(lost > 0 && trail.facts.records == 41 - lost)
    var verifier = AuditVerifier()
    _ = verifier.begin(file: "f")
    #expect(verifier.receive(folder.bytes()) == nil && verifier.finish() == nil)
    #expect(verifier.summary.lost == lost)
    trail.release()
  }

  /// Whatever becomes of a publication's record, the log has its version or says that it has not.
  @Test(.enabled(if: TemporaryFolder.mayMount, "may not mount"), arguments: [false, true])
  func publicationsThatAreLostAreNamed(_ goesOn: Bool) throws {
    let folder = TemporaryFolder(bytes: 64 << 10)
    let trail = writer(folder, onFailure: goesOn ? .goOn : .stop, laneBytes: 64)
    trail.begin(AuditRecord(.start), now: noon)
    folder.write([UInt8](repeating: 1, count: 52 << 10), to: "filler")
    var sequence: UInt64 = 0
    func publish() {
      sequence += 1
      var record = AuditRecord(.publish, version: "v\(sequence)", sequence: sequence, reason: "source")
      record.added = NameList(["ns/" + String(repeating: "n", count: 200)])
      var brief = record
      brief.added = NameList(record.added?.names ?? [], most: 0)
      trail.publisher.hand(
        AuditBatch(record, at: noon), brief: { AuditBatch(brief, at: noon) }, sequence: sequence)
      trail.publisher.tell()
    }
    while trail.facts.failure == nil, sequence < 1000 { publish() }
    for _ in 0..<60 { publish() }
    unsafe unlink(folder.path + "/filler")
    trail.retry()
    publish()
    #expect(trail.facts.failure == nil && trail.facts.lost > 0)
    let lines = String(decoding: folder.bytes(), as: UTF8.self).split(separator: "\n")
    let missing = (1...sequence).filter { number in
      !lines.contains { $0.contains("\"version\":\"v\(number)\"") }
    }
    let told = try #require(lines.first { $0.contains("\"omitted\"") })
    #expect(UInt64(missing.count) == trail.facts.lost)
    #expect(told.contains("\"omitted\":\(missing.count)"))
    let (first, last) = (try #require(missing.first), try #require(missing.last))
    #expect(told.contains("from sequence \(first) to \(last) is in part not recorded"))
    // It stands before what is published later, and is told once.
    let place = try #require(lines.firstIndex(of: told))
    let next = try #require(lines.firstIndex { $0.contains("\"version\":\"v\(sequence)\"") })
    #expect(place < next && lines.count { $0.contains("\"omitted\"") } == 1)
    // Names go first: some are left of what waited.
    #expect(goesOn || lines.contains { $0.contains("\"added\":[],\"addedCount\":1") })
    _ = events(of: [folder.bytes()])
    trail.release()
  }

  @Test(.enabled(if: TemporaryFolder.mayMount, "may not mount"))
  func settingsChangeWhileItRuns() {
    let folder = TemporaryFolder(bytes: 64 << 10)
    let trail = writer(folder)
    trail.begin(AuditRecord(.start), now: noon)
    folder.write([UInt8](repeating: 1, count: 52 << 10), to: "filler")
    var handed = 0
    while trail.facts.failure == nil, handed < 1000 {
      hand(trail.serving[0], .deliver, bytes: 100)
      handed += 1
    }
    #expect(trail.serving[0].committed == UInt64(handed - 1))
    // Nobody waits any more, at once.
    trail.adopt(TrailSettings(path: "/elsewhere", onFailure: .goOn))
    #expect(trail.serving[0].committed == UInt64(handed) && trail.facts.lost == 1)
    #expect(trail.settings.path == folder.log && trail.settings.onFailure == .goOn)
    unsafe unlink(folder.path + "/filler")
    trail.retry()
    #expect(trail.facts.failure == nil)
    // Smaller files from now on: the one that is too large is closed, and the chain goes on.
    trail.adopt(TrailSettings(path: folder.log, maxBytes: 1000, sync: true))
    for _ in 0..<3 { hand(trail.serving[0], .ack) }
    let closed = folder.names.filter { $0.hasPrefix("audit.jsonl.0") }
    #expect(!closed.isEmpty)
    #expect(events(of: closed.map { folder.bytes($0) } + [folder.bytes()]).count { $0 == "ack" } == 3)
    trail.release()
  }

  @Test func theChainGoesOnInAnotherPlace() {
    let (old, new) = (TemporaryFolder(), TemporaryFolder())
    let trail = writer(old)
    trail.begin(AuditRecord(.start), now: noon)
    hand(trail.serving[0], .deliver)
    trail.move(to: TrailFile(TrailSettings(path: new.log)), path: new.log)
    #expect(trail.settings.path == new.log && trail.facts.moveRefusal == nil)
    #expect(trail.facts.leftPlace == old.log)
    hand(trail.serving[0], .ack)
    #expect(trail.serving[0].committed == 2)
    #expect(events(of: [old.bytes()]) == ["start", "deliver", "checkpoint"])
    // It stands for itself, and together with what was before.
    #expect(events(of: [new.bytes()]) == ["checkpoint", "ack"])
    #expect(events(of: [old.bytes(), new.bytes()]).count == 5)
    // The old place is free, and no place for this chain any more.
    let other = writer(old)
    other.begin(AuditRecord(.start), now: noon)
    #expect(other.facts.failure == nil)
    other.release()
    trail.move(to: TrailFile(TrailSettings(path: old.log)), path: old.log)
    #expect(trail.facts.moveRefusal == .taken(path: old.log) && trail.settings.path == new.log)
    trail.move(to: TrailFile(TrailSettings(path: "/proc/none/a.jsonl")), path: "/proc/none/a.jsonl")
    #expect(trail.facts.moveRefusal != nil && trail.facts.failure == nil)
    hand(trail.serving[0], .ack)
    #expect(events(of: [new.bytes()]).count { $0 == "ack" } == 2)
    trail.release()
  }

  @Test(.enabled(if: TemporaryFolder.mayMount, "may not mount"), arguments: [false, true])
  func aFullDiskCanBeLeft(_ goesOn: Bool) {
    let (old, new) = (TemporaryFolder(bytes: 64 << 10), TemporaryFolder())
    let trail = writer(old, onFailure: goesOn ? .goOn : .stop)
    trail.begin(AuditRecord(.start), now: noon)
    old.write([UInt8](repeating: 1, count: 52 << 10), to: "filler")
    var handed = 0
    while trail.facts.failure == nil, handed < 1000 {
      hand(trail.serving[0], .deliver, bytes: 100)
      handed += 1
    }
    trail.move(to: TrailFile(TrailSettings(path: new.log)), path: new.log)
    #expect(trail.facts.failure == nil && trail.settings.path == new.log)
    #expect(trail.serving[0].committed == UInt64(handed))
    #expect(trail.facts.lost == (goesOn ? 1 : 0))
    let all = events(of: [old.bytes(), new.bytes()])
    #expect(all.count { $0 == "deliver" } == (goesOn ? handed - 1 : handed))
    trail.release()
  }
}
