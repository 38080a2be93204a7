// The audit worker's work: takes what the lanes hold, gives every record its place in the chain, writes once for all
// of them, and tells each lane how far it is written. Runs on the worker `audit` (inline in the simulator).
//
// A disk that fails: with `stop` everything waits, in the lanes and in their makers, and is written when there is room
// again; with `goOn` it is dropped and counted. The log never has a gap that it does not name.

public import Audit
public import Primitives
import Synchronization

/// Who signs checkpoints.
public struct TrailSigner: Sendable {
  /// DER, leaf first.
  let certificates: [[UInt8]]
  /// A signature after that would be refused by whoever verifies the log.
  let notAfter: Timestamp
  /// Nil when it cannot sign.
  let sign: @Sendable (_ message: [UInt8]) -> [UInt8]?

  public init(
    certificates: [[UInt8]], notAfter: Timestamp, sign: @escaping @Sendable (_ message: [UInt8]) -> [UInt8]?
  ) {
    self.certificates = certificates
    self.notAfter = notAfter
    self.sign = sign
  }
}

/// What is known of the log, for status, metrics and journal.
public struct TrailFacts: Sendable {
  /// It was opened at least once.
  public var isOpen = false
  /// Why nothing can be written; nil while it can.
  public var failure: TrailError?
  public var records: UInt64 = 0
  public var bytes: UInt64 = 0
  /// Records that were not kept.
  public var lost: UInt64 = 0
  /// Times that writing failed.
  public var failures: UInt64 = 0
  /// End of the log.
  public var head = AuditHead.none
  /// The newest checkpoint, and whether it bears a signature.
  public var checkpoint: AuditHead?
  public var isSigned = false
  /// Set by a start that found a torn end.
  public var torn: String?
  /// Why the log did not go on where it was told to; nil after another word.
  public var moveRefusal: TrailError?
  /// The place that was left last, by a reload: its files are nobody's here any more.
  public var leftPlace: String?
  /// Names of files that the last look removed because of their age.
  public var removedFiles: [String] = []

  public init() {}
}

public final class TrailWriter: Sendable {
  private struct State: Sendable {
    var storage: any TrailStorage
    /// How the process began; written once, before everything else. Nothing is written before it is known.
    var start: (record: AuditRecord, time: Timestamp)?
    /// The log was opened.
    var isOpen = false
    /// Where it is to go on.
    var next: (storage: any TrailStorage, path: String)?
    /// The next line opens a file, for this reason.
    var opensFile: String?
    /// Lines that have their places and are not written yet; empty between rounds, unless writing failed.
    var pending = Pending()
    /// What the numbers of each lane's maker mean.
    var pieces: [KnownPieces]
    var signer: TrailSigner?
    /// Lost records that no written line tells of.
    var unsaid = 0
    /// Of those, what publications said.
    var missed: Publications?
    var facts = TrailFacts()
    /// Failed at the last try: only `tick` tries again.
    var isPaused = false
    var hasBegun = false
    /// Time of the newest record.
    var now = Timestamp(seconds: 0)
  }

  /// One write.
  private struct Pending: Sendable {
    var lines: [UInt8] = []
    var records = 0
    var head = AuditHead.none
    /// Lost records that the first line tells of.
    var said = 0
    /// How far each lane is once this is written.
    var commits: [Commit] = []
    var checkpoint: AuditHead?
    var isSigned = false
    var holdsStart = false
    /// Whose records these are, or whose loss they tell.
    var publications: Publications?
    var tellsOfMissed = false
  }

  private struct Commit: Sendable {
    let lane: Int
    let upTo: UInt64
    let isAwaited: Bool
  }

  /// Whose pieces the writer's own records are made of: they have none.
  private static let own = 0

  /// Memory that waits for the next write. Reason: a push to some thousand clients.
  private static let keptBytes = 4 * 1024 * 1024

  /// What the control loop records.
  public let control: AuditLane
  /// What the publisher records, before its generation is published.
  public let publisher: AuditLane
  /// One for each serve loop.
  public let serving: [AuditLane]
  private let lanes: [AuditLane]
  private let state: Mutex<State>
  private let bell: Bell
  private let published = Published(TrailFacts())
  private let configured: Published<TrailSettings>
  /// Where the log is now.
  private let place: Published<String>
  private let listener = Mutex<Waker?>(nil)
  /// Given every line once it is written, where the settings say so.
  private let mirror: (@Sendable ([UInt8]) -> Void)?

  /// Calls `run` on the worker, once for all requests since it last ran.
  private final class Bell: Sendable {
    let isRung = Atomic<Bool>(false)
    let worker: any Worker
    let writer = Mutex<WeakWriter>(WeakWriter())

    struct WeakWriter: Sendable { weak var value: TrailWriter? }

    init(_ worker: any Worker) { self.worker = worker }

    func ring() {
      guard !isRung.exchange(true, ordering: .acquiringAndReleasing) else { return }
      let accepted = worker.submit { [self] in
        isRung.store(false, ordering: .sequentiallyConsistent)
        let target = writer.withLock { $0.value }
        target?.run()
      }
      // The next one rings again; the control loop does so every second at the latest.
      if !accepted { isRung.store(false, ordering: .releasing) }
    }
  }

  /// - Parameter laneBytes: what one lane may hold before deliveries wait (`limits.auditBytes`).
  public init(
    _ settings: TrailSettings, storage: any TrailStorage, loops: Int, laneBytes: Int, worker: any Worker,
    mirror: (@Sendable ([UInt8]) -> Void)? = nil
  ) {
    self.mirror = mirror
    let bell = Bell(worker)
    self.bell = bell
    configured = Published(settings)
    place = Published(settings.path)
    func lane(_ bytes: Int) -> AuditLane { AuditLane(bytesSoft: bytes) { bell.ring() } }
    control = lane(laneBytes)
    // A first publication names everything that every class sees.
    publisher = lane(16 * laneBytes)
    serving = (0..<loops).map { _ in lane(laneBytes) }
    // In the order of writing: what a delivery refers to stands before it.
    lanes = [control, publisher] + serving
    state = Mutex(State(storage: storage, pieces: lanes.map { _ in KnownPieces() }))
    bell.writer.withLock { $0.value = self }
  }

  // MARK: from the control loop

  public var facts: TrailFacts { published.value }

  /// As they are now, with the path of now.
  public var settings: TrailSettings {
    var settings = configured.value
    settings.path = place.value
    return settings
  }

  /// Goes on with other settings, from the next write on. The path stays: that is for `move`.
  public func adopt(_ settings: TrailSettings) {
    configured.publish(settings)
    // Who waits for a disk that fails need not wait longer.
    bell.ring()
  }

  /// The chain goes on in another place, where no log may be yet. Away from a disk that is full, too.
  public func move(to storage: any TrailStorage, path: String) {
    submit { state in
      state.next = (storage, path)
      state.facts.moveRefusal = nil
      state.isPaused = false
    }
  }

  /// Woken when anything but a counter changed.
  public func listen(_ wake: @escaping Waker) { listener.withLock { $0 = wake } }

  /// Opens the log and writes the first record of this process. Call once.
  public func begin(_ start: AuditRecord, now: Timestamp) {
    submit { state in
      state.start = (start, now)
      state.now = now
      state.hasBegun = true
    }
  }

  /// Who signs from now on; nil: nobody, checkpoints bear no signature.
  public func adopt(_ signer: TrailSigner?) {
    submit { $0.signer = signer }
  }

  /// Tries again after a failure. Call every second while there is one.
  public func retry() {
    submit { $0.isPaused = false }
  }

  /// Removes closed files that are too old. Call every hour or so.
  public func removeOldFiles(now: Timestamp) {
    let limit = Timestamp(milliseconds: now.milliseconds - settings.keep.inNanoseconds / 1_000_000)
    submit { state in
      guard state.isOpen else { return }
      state.facts.removedFiles = state.storage.removeFiles(writtenBefore: limit)
    }
  }

  /// Writes a checkpoint after everything that waits now. Left out while the log cannot be written.
  public func checkpoint(reason: String? = nil, now: Timestamp) {
    submit { [self] state in
      guard state.isOpen, state.pending.lines.isEmpty else { return }
      take(&state)
      appendCheckpoint(&state, reason, now)
    }
  }

  /// Lets go of the log. Call last, when the worker has nothing left to do.
  public func release() {
    state.withLock { $0.storage.release() }
  }

  /// A job on the worker, then a round of writing. What the worker has no room for is left out: all of it comes
  /// again.
  private func submit(_ job: @escaping @Sendable (inout State) -> Void) {
    _ = bell.worker.submit { [self] in
      state.withLock { job(&$0) }
      run()
    }
  }

  // MARK: on the worker

  /// Writes what the lanes hold.
  func run() {
    let (facts, isNews, commits) = state.withLock { state in
      let before = state.facts
      var done: [Commit] = []
      if state.hasBegun {
        if !state.isPaused {
          write(&state, &done)
        } else if settings.onFailure == .goOn {
          drop(&state, &done)
        }
      }
      return (state.facts, TrailWriter.isNews(before, state.facts), done)
    }
    published.publish(facts)
    for commit in commits { lanes[commit.lane].commit(upTo: commit.upTo, isAwaited: commit.isAwaited) }
    if isNews { listener.withLock { $0 }?() }
  }

  private static func isNews(_ before: TrailFacts, _ after: TrailFacts) -> Bool {
    before.failure != after.failure || before.checkpoint != after.checkpoint || before.torn != after.torn
      || before.isOpen != after.isOpen || before.lost != after.lost || before.moveRefusal != after.moveRefusal
      || before.removedFiles != after.removedFiles || before.leftPlace != after.leftPlace
  }

  private func write(_ state: inout State, _ done: inout [Commit]) {
    let isRecovering = state.facts.failure != nil
    do throws(TrailError) {
      // A place that cannot be written is left without a word.
      if isRecovering { move(&state) }
      try open(&state)
      // First what has its place already: what a failure left, or a checkpoint.
      try writePending(&state, &done)
      if let next = state.next, next.path != settings.path {
        appendCheckpoint(&state, "the log goes on in " + next.path, state.now)
        try writePending(&state, &done)
        move(&state)
      }
      try beginFileIfDue(&state)
      take(&state)
      // Also the proof that it can be written, when there is nothing else to write.
      if isRecovering { appendCheckpoint(&state, "written again", state.now) }
      try writePending(&state, &done)
    } catch {
      state.facts.failure = error
      state.facts.failures &+= 1
      state.isPaused = true
      if settings.onFailure == .goOn { drop(&state, &done) }
    }
  }

  private func writePending(_ state: inout State, _ done: inout [Commit]) throws(TrailError) {
    if !state.pending.lines.isEmpty {
      try state.storage.append(state.pending.lines, syncing: settings.sync)
      if settings.isMirrored { mirror?(state.pending.lines) }
      state.facts.failure = nil
    }
    wrote(&state, &done)
  }

  private func open(_ state: inout State) throws(TrailError) {
    guard !state.isOpen else { return }
    let opening = try state.storage.open()
    state.isOpen = true
    state.facts.isOpen = true
    state.facts.torn = opening.torn
    state.facts.head = opening.head
    if opening.continuesInNewFile { state.opensFile = AuditRotation.reason }
  }

  /// Leaves the place where the log is for the one where it was told to go on. What has its place in the chain and is
  /// not written yet goes along.
  private func move(_ state: inout State) {
    guard let next = state.next else { return }
    state.next = nil
    guard next.path != settings.path else { return }
    var storage = next.storage
    do throws(TrailError) {
      let opening = try storage.open()
      guard opening.head == .none, opening.torn == nil else { throw TrailError.taken(path: next.path) }
    } catch {
      storage.release()
      state.facts.moveRefusal = error
      return
    }
    state.storage.release()
    state.storage = storage
    state.facts.leftPlace = settings.path
    place.publish(next.path)
    if state.pending.lines.isEmpty, state.facts.head.seq > 0 { state.opensFile = AuditRotation.reason }
  }

  /// A file that is large enough is closed; one that is gone cannot be written. Either way the next line says why
  /// a file begins here.
  private func beginFileIfDue(_ state: inout State) throws(TrailError) {
    if try state.storage.hasLostFile() {
      state.opensFile = "the file written before is gone"
    } else if state.storage.byteCount > 0, state.storage.byteCount >= settings.maxBytes {
      try state.storage.rotate(next: state.facts.head.seq + 1)
      state.opensFile = AuditRotation.reason
    }
    guard let reason = state.opensFile else { return }
    appendCheckpoint(&state, reason, state.now)
  }

  /// Gives everything that waits its place. Serve loops are asked first and written last: what they refer to was
  /// recorded before.
  private func take(_ state: inout State) {
    var loads: [(lane: Int, load: AuditLane.Load)] = []
    for index in lanes.indices.reversed() {
      if let load = lanes[index].take() { loads.append((index, load)) }
    }
    for load in loads {
      noteLost(load.load.lost, &state)
      state.missed = Publications.together(state.missed, load.load.missed)
    }
    if var start = state.start, !state.pending.holdsStart {
      start.record.torn = state.facts.torn
      append(AuditBatch(start.record, at: start.time), of: TrailWriter.own, &state)
      state.pending.holdsStart = true
    }
    // What serve loops wrote refers to what the publisher did, or did not.
    let firstServing = lanes.count - serving.count
    for index in loads.indices.reversed() where loads[index].lane < firstServing {
      append(&loads[index].load, of: loads[index].lane, &state)
    }
    tellOfMissed(&state)
    for index in loads.indices.reversed() where loads[index].lane >= firstServing {
      append(&loads[index].load, of: loads[index].lane, &state)
    }
  }

  private func append(_ load: inout AuditLane.Load, of lane: Int, _ state: inout State) {
    append(load.batch, of: lane, &state)
    state.pending.commits.append(Commit(lane: lane, upTo: load.upTo, isAwaited: load.isAwaited))
    state.pending.publications = Publications.together(state.pending.publications, load.publications)
    lanes[lane].giveBack(&load.batch)
  }

  private func tellOfMissed(_ state: inout State) {
    guard let missed = state.missed else { return }
    state.missed = nil
    append(AuditBatch(missed.record, at: state.now), of: TrailWriter.own, &state)
    state.pending.publications = Publications.together(state.pending.publications, missed)
    state.pending.tellsOfMissed = true
  }

  private func noteLost(_ count: Int, _ state: inout State) {
    state.unsaid += count
    state.facts.lost &+= UInt64(count)
  }

  /// The chain as it goes on after what is pending.
  private func chain(_ state: inout State) -> AuditChain {
    guard state.pending.lines.isEmpty else { return AuditChain(after: state.pending.head) }
    state.pending.said = state.unsaid
    return AuditChain(after: state.facts.head, lost: state.unsaid)
  }

  private func append(_ batch: AuditBatch, of lane: Int, _ state: inout State) {
    guard !batch.isEmpty else { return }
    if let time = batch.time { state.now = max(state.now, time) }
    var chain = chain(&state)
    chain.append(batch, &state.pieces[lane], to: &state.pending.lines)
    state.pending.records += batch.count
    state.pending.head = chain.head
  }

  private func appendCheckpoint(_ state: inout State, _ reason: String?, _ now: Timestamp) {
    var chain = chain(&state)
    let signer = state.signer.flatMap { now > $0.notAfter ? nil : $0 }
    var isSigned = false
    chain.appendCheckpoint(
      reason: reason, at: now, certificates: signer?.certificates ?? [], to: &state.pending.lines
    ) { bytes in
      let signature = signer?.sign(bytes)
      isSigned = signature != nil
      return signature
    }
    state.pending.records += 1
    state.pending.head = chain.head
    state.pending.checkpoint = chain.head
    state.pending.isSigned = isSigned
  }

  private func wrote(_ state: inout State, _ done: inout [Commit]) {
    var lines: [UInt8] = []
    swap(&lines, &state.pending.lines)
    let (pending, byteCount) = (state.pending, lines.count)
    // The next round writes into the same memory, unless a flood made it large.
    lines.removeAll(keepingCapacity: lines.capacity <= TrailWriter.keptBytes)
    state.pending = Pending(lines: lines)
    done += pending.commits
    guard pending.records > 0 else { return }
    state.unsaid -= pending.said
    state.opensFile = nil
    if pending.holdsStart { state.start = nil }
    state.facts.head = pending.head
    state.facts.records &+= UInt64(pending.records)
    state.facts.bytes &+= UInt64(byteCount)
    if let checkpoint = pending.checkpoint {
      state.facts.checkpoint = checkpoint
      state.facts.isSigned = pending.isSigned
    }
  }

  /// Goes on without what cannot be written: it is counted, and nobody waits for it.
  private func drop(_ state: inout State, _ done: inout [Commit]) {
    // What waits in the lanes is lost, too: it would only wait longer.
    take(&state)
    // The start and checkpoints come again, and so does what is told of lost publications.
    let own = [state.pending.holdsStart, state.pending.checkpoint != nil, state.pending.tellsOfMissed]
      .count { $0 }
    state.missed = state.pending.publications
    done += state.pending.commits
    noteLost(max(0, state.pending.records - own), &state)
    state.pending = Pending()
  }
}
