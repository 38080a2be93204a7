// Goal: a snapshot goes out of a relay and into another as a file: whole, judged as an upstream's word is, and never in
// place of a source that is followed. What is refused changes nothing.
// Method: an origin, and a relay whose upstream nobody answers for, on simulated hosts; pieces through the admin
// interface.

import Admin
import Foundation
import Primitives
import Ring
import Snapshots
import Synchronization
import Testing
import Trail

@testable import Tier

private let a = "spiffe://example.org/a"
private let rules = """
  clusters:
    - {name: a, identities: ["spiffe://example.org/a"], allow: [{namespaces: [foo]}]}
    - {name: b, identities: ["spiffe://example.org/b"], allow: [{names: [g1]}]}
  """

@Suite(.serialized) struct TransferDeskTests {
  private func origin(_ count: Int, trail: TrailWriter? = nil) throws -> Origin {
    let origin = try Origin(rules, trail: trail)
    try write(origin, 0..<count)
    origin.control.start()
    origin.settle()
    return origin
  }

  private func write(_ origin: Origin, _ numbers: Range<Int>) throws {
    try origin.write("all.yaml", numbers.map { gateway("foo", "g\($0)") }.joined(separator: "---\n"))
  }

  /// A relay that nobody can reach the upstream of.
  private func island() throws -> Origin {
    let island = try Origin(rules, upstream: "198.51.100.1")
    island.control.start()
    island.settle()
    return island
  }

  private func export(_ origin: Origin, as identity: String? = nil) throws -> [UInt8] {
    let begun = try origin.ask(.transfer(.beginExport(identity: identity)))
    try #require(begun.status == 200, "\(text(begun))")
    let ticket = try JSONDecoder().decode(ExportTicket.self, from: Data(begun.body)).ticket
    var file: [UInt8] = []
    while true {
      let piece = try origin.ask(.transfer(.readExport(ticket: ticket, from: UInt64(file.count))))
      try #require(piece.status == 200, "\(text(piece))")
      if piece.body.isEmpty { return file }
      file += piece.body
    }
  }

  private func bring(
    _ file: [UInt8], to island: Origin, _ terms: ImportTerms = ImportTerms()
  ) throws -> AdminReply {
    let begun = try island.ask(.transfer(.beginImport(terms)))
    guard begun.status == 200 else { return begun }
    let ticket = try JSONDecoder().decode(ImportTicket.self, from: Data(begun.body)).ticket
    var offset = 0
    while offset < file.count {
      let piece = Array(file[offset..<min(offset + 700, file.count)])
      let reply = try island.ask(
        .transfer(.writeImport(ticket: ticket, from: UInt64(offset), bytes: piece)))
      guard reply.status == 200 else { return reply }
      offset += piece.count
    }
    return try island.ask(.transfer(.endImport(ticket: ticket, bytes: UInt64(file.count))))
  }

  private func text(_ reply: AdminReply) -> String {
    "\(reply.status) " + String(decoding: reply.body.prefix(500), as: UTF8.self)
  }

  private func outcome(_ reply: AdminReply) throws -> ImportOutcome {
    try #require(reply.status == 200, "\(text(reply))")
    return try JSONDecoder().decode(ImportOutcome.self, from: Data(reply.body))
  }

  @Test func whatIsImportedIsServedAndReady() throws {
    let (origin, island) = (try origin(20), try island())
    #expect(try island.ask(.readyz).status == 503)
    #expect(text(try island.ask(.transfer(.beginExport(identity: nil)))).contains("nothing complete"))
    let file = try export(origin)
    let would = try outcome(try bring(file, to: island, ImportTerms(isDryRun: true)))
    #expect(would.added.count == 20 && would.isDryRun && island.seen(by: a).isEmpty)
    let done = try outcome(try bring(file, to: island))
    #expect(done.added.count == 20 && done.source == "up" && done.held.isEmpty && done.setAside.count == 0)
    #expect(done.unsaved == "state is not set")
    #expect(island.seen(by: a) == origin.seen(by: a))
    #expect(try island.ask(.readyz).status == 200)
    let (theirs, ours) = (
      try #require(try origin.status().snapshot), try #require(try island.status().snapshot)
    )
    #expect(ours.version == theirs.version && ours.sequence == theirs.sequence && ours.origin == "mesh")
    #expect(try island.status().sources.map(\.state) == [.stale])
    #expect(try outcome(try bring(file, to: island)).changesNothing)
  }

  @Test func olderFilesAndThoseOfOtherOriginsWaitForAnOperatorsWord() throws {
    let (origin, island) = (try origin(20), try island())
    let old = try export(origin)
    try write(origin, 0..<21)
    origin.settle()
    _ = try outcome(try bring(try export(origin), to: island))
    let refused = try bring(old, to: island)
    #expect(refused.status == 409 && text(refused).contains("older than what is served"))
    #expect(island.seen(by: a).count == 21)
    #expect(text(try bring(old, to: island, ImportTerms(isDryRun: true))).contains("older"))
    #expect(try outcome(try bring(old, to: island, ImportTerms(adopts: true))).removed.count == 1)
    #expect(island.seen(by: a).count == 20)
  }

  @Test func theBrakeJudgesWhatAFileNoLongerHas() throws {
    let (origin, island) = (try origin(20), try island())
    _ = try outcome(try bring(try export(origin), to: island))
    try write(origin, 0..<3)
    origin.settle()
    let done = try outcome(try bring(try export(origin), to: island))
    #expect(done.held.map(\.cluster) == ["a"] && done.message.contains("The brake holds 'a'"))
    #expect(island.seen(by: a).count == 20)
    _ = try island.ask(.command(.release(cluster: "a", type: nil)))
    #expect(island.seen(by: a).count == 3)
  }

  @Test func anExportAsAnIdentityHasNoMoreThanItsGrant() throws {
    let (origin, island) = (try origin(5), try island())
    let file = try export(origin, as: "spiffe://example.org/b")
    #expect(String(decoding: file, as: UTF8.self).contains("foo/g1"))
    #expect(!String(decoding: file, as: UTF8.self).contains("foo/g2"))
    #expect(try outcome(try bring(file, to: island)).added.names == ["networking.istio.io/Gateway foo/g1"])
    for (identity, status) in [("spiffe://example.org/x", 404), ("nobody", 400)] {
      #expect(try origin.ask(.transfer(.beginExport(identity: identity))).status == status)
    }
  }

  @Test func nothingLeavesBeforeItsRecordIsWritten() throws {
    let (folder, worker) = (TemporaryLog(), PausedWorker())
    let settings = TrailSettings(path: folder.path)
    let trail = TrailWriter(
      settings, storage: TrailFile(settings), loops: 0, laneBytes: 1 << 20, worker: worker)
    defer { trail.release() }
    let origin = try origin(3, trail: trail)
    let answers = Mutex<[AdminReply]>([])
    func begin() {
      origin.control.ask(.transfer(.beginExport(identity: nil))) { reply in
        answers.withLock { $0.append(reply) }
      }
      origin.network.run(for: .milliseconds(500))
    }
    worker.isPaused = true
    begin()
    #expect(answers.withLock { $0.isEmpty } && folder.exports.isEmpty, "its record is on its way")
    // Who guesses the ticket reads nothing.
    let guess = Mutex<AdminReply?>(nil)
    origin.control.ask(.transfer(.readExport(ticket: 1 << 62 | 1, from: 0))) { reply in
      guess.withLock { $0 = reply }
    }
    origin.network.run(for: .milliseconds(500))
    #expect(guess.withLock { $0?.status } == 410)
    worker.isPaused = false
    origin.network.run(for: .milliseconds(500))
    #expect(answers.withLock { $0.map(\.status) } == [200] && folder.exports == ["everything"])

    // A log that does not write within two seconds.
    worker.isPaused = true
    begin()
    for _ in 0..<3 {
      origin.network.run(for: .seconds(1))
      origin.control.beat()
    }
    let late = try #require(answers.withLock { $0.last })
    #expect(late.status == 503 && text(late).contains("the audit log takes too long to be written"))
    worker.isPaused = false
    origin.settle()
    #expect(folder.exports.suffix(2).map { $0.hasPrefix("not begun, nothing has left") } == [false, true])
    #expect(try export(origin).isEmpty == false)
    // One whose folder is gone.
    folder.remove()
    let refused = try origin.ask(.transfer(.beginExport(identity: nil)))
    #expect(
      refused.status == 503 && text(refused).contains("Nothing was done, for it could not be put on record"))
  }

  @Test func nothingIsShownBeforeItsRecordIsWritten() throws {
    let (folder, worker) = (TemporaryLog(), PausedWorker())
    var settings = TrailSettings(path: folder.path)
    let trail = TrailWriter(
      settings, storage: TrailFile(settings), loops: 0, laneBytes: 1 << 20, worker: worker)
    defer { trail.release() }
    let origin = try origin(3, trail: trail)
    let type = "networking.istio.io/Gateway"
    let looks: [AdminRequest] = [
      .dump(identity: a, type: nil), .explain(identity: a, type: type, name: "foo/g1"),
      .diff(DiffQuestion(.all)), .history,
    ]
    let answers = Mutex<[Int: AdminReply]>([:])
    func ask(_ requests: [AdminRequest]) {
      for (index, request) in requests.enumerated() {
        origin.control.ask(request) { reply in answers.withLock { $0[index] = reply } }
      }
      origin.network.run(for: .milliseconds(500))
    }
    func statuses() -> [Int] { answers.withLock { $0.sorted { $0.key < $1.key }.map(\.value.status) } }
    worker.isPaused = true
    ask(looks)
    #expect(statuses().isEmpty && folder.looks.isEmpty, "their records are on their way")
    // What shows no content, and a slip, wait for nothing.
    let others = Mutex<[Int]>([])
    for request in [
      AdminRequest.status, .metrics, .healthz, .readyz, .dump(identity: "nobody", type: nil),
    ] {
      origin.control.ask(request) { reply in others.withLock { $0.append(reply.status) } }
    }
    origin.network.run(for: .milliseconds(100))
    #expect(others.withLock { $0 } == [200, 200, 200, 200, 400])
    worker.isPaused = false
    origin.network.run(for: .milliseconds(500))
    #expect(statuses() == [200, 200, 200, 200])
    #expect(folder.looks == ["dump as \(a)", "explain foo/g1 as \(a)", "diff of all clusters", "history"])

    // A log that does not write within two seconds.
    worker.isPaused = true
    answers.withLock { $0 = [:] }
    ask(looks)
    for _ in 0..<3 {
      origin.network.run(for: .seconds(1))
      origin.control.beat()
    }
    #expect(statuses() == [503, 503, 503, 503])
    let late = try #require(answers.withLock { $0[0] })
    #expect(
      text(late).contains("Nothing is shown, for it could not be put on record: the audit log takes too long")
    )
    worker.isPaused = false
    origin.settle()
    #expect(
      folder.looks.count == 12
        && folder.looks.last?.hasPrefix("nothing was shown: history: the audit") == true)
    // With `continue` it goes on; so many wait at once and no more.
    worker.isPaused = true
    answers.withLock { $0 = [:] }
    ask([AdminRequest](repeating: .history, count: RecordDesk.most + 1))
    #expect(statuses() == [503])
    worker.isPaused = false
    origin.settle()
    settings.onFailure = .goOn
    trail.adopt(settings)
    worker.isPaused = true
    answers.withLock { $0 = [:] }
    ask(looks)
    #expect(statuses() == [200, 200, 200, 200])
    worker.isPaused = false
    settings.onFailure = .stop
    trail.adopt(settings)
    // One whose folder is gone.
    folder.remove()
    origin.settle()
    let refused = try origin.ask(.dump(identity: a, type: nil))
    #expect(refused.status == 503 && text(refused).contains("Nothing is shown"), "\(text(refused))")
  }

  @Test func whatADryRunSaysIsOnRecordBefore() throws {
    let (folder, worker) = (TemporaryLog(), PausedWorker())
    let settings = TrailSettings(path: folder.path)
    let trail = TrailWriter(
      settings, storage: TrailFile(settings), loops: 0, laneBytes: 1 << 20, worker: worker)
    defer { trail.release() }
    let file = try export(try origin(3))
    let island = try Origin(rules, upstream: "198.51.100.1", trail: trail)
    island.control.start()
    island.settle()
    let begun = try island.ask(.transfer(.beginImport(ImportTerms(isDryRun: true))))
    let ticket = try JSONDecoder().decode(ImportTicket.self, from: Data(begun.body)).ticket
    _ = try island.ask(.transfer(.writeImport(ticket: ticket, from: 0, bytes: file)))
    worker.isPaused = true
    let answer = Mutex<AdminReply?>(nil)
    island.control.ask(.transfer(.endImport(ticket: ticket, bytes: UInt64(file.count)))) { reply in
      answer.withLock { $0 = reply }
    }
    island.network.run(for: .milliseconds(500))
    #expect(answer.withLock { $0 } == nil && folder.looks.isEmpty)
    worker.isPaused = false
    island.network.run(for: .milliseconds(500))
    #expect(answer.withLock { $0?.status } == 200 && folder.looks == ["import, as a dry run"])
  }

  @Test func aDamagedFileChangesNothingAndTheNextIsTaken() throws {
    let (origin, island) = (try origin(5), try island())
    let file = try export(origin)
    var random = SeededGenerator(seed: 3)
    for _ in 0..<20 {
      var damaged = file
      damaged[Int.random(in: 0..<file.count, using: &random)] ^= 4
      let reply = try bring(damaged, to: island)
      #expect(reply.status == 400, "\(text(reply))")
      #expect(
        try bring(Array(file.prefix(Int.random(in: 0..<file.count, using: &random))), to: island).status
          == 400)
    }
    let served = try island.status().snapshot
    #expect(island.seen(by: a).isEmpty && served == nil)
    #expect(try outcome(try bring(file, to: island)).added.count == 5)
  }

  @Test func whatCannotBeDoneSaysWhy() throws {
    let (origin, island) = (try origin(2), try island())
    let file = try export(origin)
    #expect(
      text(try bring(file, to: origin)).contains("409 {\"error\":\"This relay has no source of the kind"))
    #expect(text(try bring(file, to: island, ImportTerms(source: "x"))).contains("The sources are: up"))
    let begun = try island.ask(.transfer(.beginImport(ImportTerms())))
    let ticket = try JSONDecoder().decode(ImportTicket.self, from: Data(begun.body)).ticket
    #expect(
      text(try island.ask(.transfer(.beginImport(ImportTerms())))).contains("Another import is under way"))
    #expect(try island.ask(.transfer(.writeImport(ticket: ticket, from: 5, bytes: [1]))).status == 409)
    #expect(try island.ask(.transfer(.writeImport(ticket: ticket + 1, from: 0, bytes: [1]))).status == 410)
    #expect(try island.ask(.transfer(.endImport(ticket: ticket, bytes: 0))).status == 400)
    #expect(try island.ask(.transfer(.readExport(ticket: 1, from: 0))).status == 410)
    // One that is given up keeps nobody out.
    let next = try island.ask(.transfer(.beginImport(ImportTerms())))
    let given = try JSONDecoder().decode(ImportTicket.self, from: Data(next.body)).ticket
    #expect(try island.ask(.transfer(.abandonImport(ticket: ticket))).status == 410, "that one is over")
    #expect(try island.ask(.transfer(.abandonImport(ticket: given))).status == 200)
    #expect(try island.ask(.transfer(.writeImport(ticket: given, from: 0, bytes: [1]))).status == 410)
    // One that nobody goes on with does not, either.
    _ = try island.ask(.transfer(.beginImport(ImportTerms())))
    island.network.run(for: TransferDesk.silenceMost)
    #expect(try outcome(try bring(file, to: island)).added.count == 2)
    for _ in 0..<TransferDesk.exportsMost { _ = try origin.ask(.transfer(.beginExport(identity: nil))) }
    #expect(try origin.ask(.transfer(.beginExport(identity: nil))).status == 503)
  }
}

/// Does its work when it is not paused.
final class PausedWorker: Worker {
  private struct State {
    var isPaused = false
    var waiting: [@Sendable () -> Void] = []
  }

  private let state = Mutex(State())

  var isPaused: Bool {
    get { state.withLock { $0.isPaused } }
    set {
      let due = state.withLock { state in
        state.isPaused = newValue
        defer { if !newValue { state.waiting = [] } }
        return newValue ? [] : state.waiting
      }
      for job in due { job() }
    }
  }

  func submit(_ job: @escaping @Sendable () -> Void) -> Bool {
    let isDue = state.withLock { state in
      if state.isPaused { state.waiting.append(job) }
      return !state.isPaused
    }
    if isDue { job() }
    return true
  }
}

/// A folder for a log, removed at the end.
private final class TemporaryLog {
  private let folder = FileManager.default.temporaryDirectory.appending(path: "log-\(UUID().uuidString)")

  init() { try? FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true) }

  deinit { remove() }

  func remove() { try? FileManager.default.removeItem(at: folder) }

  var path: String { folder.appending(path: "audit.jsonl").path(percentEncoded: false) }

  private struct Line: Decodable {
    let event: String
    let reason: String?
  }

  /// Reasons of the records of exports.
  var exports: [String] { reasons("export") }

  /// Reasons of the records of looks at content.
  var looks: [String] { reasons("admin") }

  private func reasons(_ event: String) -> [String] {
    let text = (try? String(contentsOfFile: path, encoding: .utf8)) ?? ""
    return text.split(separator: "\n").compactMap {
      try? JSONDecoder().decode(Line.self, from: Data($0.utf8))
    }
    .filter { $0.event == event }.map { $0.reason ?? "" }
  }
}
