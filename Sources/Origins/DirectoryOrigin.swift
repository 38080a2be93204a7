// The life of one directory source on the control loop. Small on purpose: what a directory means is in
// DirectoryState.swift, what the disk says in DirectoryScan.swift.
//
//   resting ──event──► debouncing ──quiet or max──► looking (on the worker) ──► resting
//      ▲                                               │  a file it read is being written: look again
//      └───────────────── every `interval` ────────────┘
//
// The loop thread only reads inotify records and moves values; it never touches the disk.

public import Primitives
public import Ring

/// How a directory is watched.
public struct DirectorySettings: Sendable {
  /// Absolute.
  public var path: String
  /// `publish.quiet` and `publish.max` of the configuration.
  public var quiet: Duration = .milliseconds(100)
  public var max: Duration = .seconds(1)
  /// Whether the kernel is asked to report changes; without it only `unwatchedInterval` finds them.
  public var isWatched = true
  /// A look without any event: for file systems whose changes the kernel does not see.
  public var interval: Duration = .seconds(60)
  /// The same where nothing can be watched at all.
  public var unwatchedInterval: Duration = .seconds(2)
  public var limits = DirectoryLimits()
  /// Bytes of one file.
  public var fileBytesMax = 64 * 1024 * 1024

  public init(path: String) { self.path = path }
}

/// A source of truth that is a directory of manifests.
public final class DirectoryOrigin {
  private var settings: DirectorySettings
  private let loop: EventLoop
  private let worker: any Worker
  private let deliver: (DirectoryReport) -> Void
  private let outcomes: Mailbox<DirectoryScan.Outcome>
  private let watch: FolderWatch?
  private let watchTrouble: String?

  private var state: DirectoryState
  private var adoptsEmpty = false
  /// Those of the next look; nil: as they were.
  private var limits: Limits?
  private var debounce: Debounce
  private var unsettled: Set<FileKey> = []
  private var isLooking = false
  private var isStopped = false
  /// An event came while the worker was looking.
  private var isOutdated = false
  /// The next look cannot rely on events to know who is writing.
  private var isBlind = true
  private var lastReport: DirectoryReport?
  /// A whole answer was delivered.
  private var hasAnswered = false
  private var firstLook: Instant?
  private var dueTimer = TimerID.none
  private var intervalTimer = TimerID.none

  private enum Tag {
    static let due = 0
    static let interval = 1
  }

  /// `deliver` is called on the loop with every report that says something new.
  public init(
    _ settings: DirectorySettings, state: DirectoryState, loop: EventLoop, worker: any Worker,
    deliver: @escaping (DirectoryReport) -> Void
  ) {
    self.settings = settings
    self.state = state
    self.loop = loop
    self.worker = worker
    self.deliver = deliver
    outcomes = Mailbox(capacity: 1, wake: loop.waker)
    debounce = Debounce(quiet: settings.quiet, max: settings.max)
    (watch, watchTrouble) = settings.isWatched ? FolderWatch.open() : (nil, nil)
  }

  /// Begins with a look at once.
  public func start() {
    if let watch { loop.watch(descriptor: watch.descriptor, self) }
    firstLook = loop.now
    armInterval()
    look()
  }

  /// Another debounce, and other limits of what is read from now on.
  public func adopt(quiet: Duration, max: Duration, limits: Limits) {
    if settings.quiet != quiet || settings.max != max {
      settings.quiet = quiet
      settings.max = max
      debounce = Debounce(quiet: quiet, max: max)
    }
    self.limits = limits
  }

  /// Takes an empty folder for the truth: an operator's word.
  public func adoptEmpty() {
    adoptsEmpty = true
    look()
  }

  /// Nothing is delivered afterwards. What the worker still does is dropped.
  public func stop() {
    guard !isStopped else { return }
    isStopped = true
    if let watch { loop.unwatch(descriptor: watch.descriptor) }
    loop.cancel(dueTimer)
    loop.cancel(intervalTimer)
  }

  /// Takes what the worker found. To be called on the loop after each wake.
  public func collect() {
    for outcome in outcomes.drain() where !isStopped {
      isLooking = false
      // Events that came while the worker was reading decide whether its result may be believed.
      takeEvents()
      judge(outcome)
    }
  }

  private func judge(_ outcome: DirectoryScan.Outcome) {
    guard outcome.read.isDisjoint(with: unsettled) else { return look() }
    if outcome.leftUnsettled {
      scheduleLook(at: loop.now + settings.quiet)
      // The first answer must be whole; but a file that is written for ever must not hold it up for ever.
      if !hasAnswered, let firstLook, loop.now - firstLook < settings.max { return }
    } else if isOutdated {
      scheduleLook(at: debounce.noted(at: loop.now))
    }
    isOutdated = false
    state = outcome.state
    var report = outcome.report
    report.watchTrouble = report.watchTrouble ?? watchTrouble
    if lastReport.map({ report.saysMore(than: $0) }) ?? true { deliver(report) }
    lastReport = report
    hasAnswered = hasAnswered || report.fault == nil
    // A folder that was moved away with a file being written will never say that it was closed.
    if let watch { unsettled = unsettled.filter { watch.isWatched($0.folder) } }
  }

  private func look() {
    guard !isLooking else {
      isOutdated = true
      return
    }
    var state = state
    state.acceptsEmpty = adoptsEmpty
    if let limits { state.limits = limits }
    adoptsEmpty = false
    let isBlindNow = isBlind || watch == nil || lastReport?.watchTrouble != nil
    let scan = DirectoryScan(
      path: settings.path, state: state, limits: settings.limits, fileBytesMax: settings.fileBytesMax,
      watch: watch,
      unsettled: unsettled, settling: isBlindNow ? settings.quiet : nil, now: loop.wallClock)
    let outcomes = outcomes
    // Marked before submitting: an inline worker is done when submit returns.
    isLooking = true
    isOutdated = false
    debounce.fired()
    guard worker.submit({ outcomes.push(scan.run()) }) else {
      isLooking = false
      return scheduleLook(at: loop.now + settings.max)
    }
    isBlind = false
  }

  private func scheduleLook(at time: Instant) {
    loop.cancel(dueTimer)
    dueTimer = loop.schedule(at: time, self, tag: Tag.due)
  }

  private func armInterval() {
    let isWatched = watch != nil && lastReport?.watchTrouble == nil
    intervalTimer = loop.schedule(
      at: loop.now + (isWatched ? settings.interval : settings.unwatchedInterval), self, tag: Tag.interval)
  }

  private func takeEvents() {
    guard let watch else { return }
    var asksForLook = false
    for event in watch.drain() {
      switch event {
      case .writing(let file):
        unsettled.insert(file)
      case .settled(let file):
        unsettled.remove(file)
        asksForLook = true
      case .changed:
        asksForLook = true
      case .overflow:
        // Nobody knows any more who is writing: the next look goes by the files' age.
        unsettled = []
        isBlind = true
        asksForLook = true
      }
    }
    guard asksForLook else { return }
    if isLooking { isOutdated = true }
    scheduleLook(at: debounce.noted(at: loop.now))
  }
}

extension DirectoryOrigin: DescriptorHandler {
  public func descriptorReadable(_ descriptor: Int32) {
    loop.preconditionOnLoop()
    takeEvents()
  }
}

extension DirectoryOrigin: TimerHandler {
  public func timerFired(_ id: TimerID, tag: Int) {
    guard !isStopped else { return }
    if tag == Tag.interval { armInterval() }
    look()
  }
}

extension DirectoryReport {
  fileprivate func saysMore(than other: DirectoryReport) -> Bool {
    !updates.isEmpty || fault != other.fault || rejected != other.rejected || resources != other.resources
      || watchTrouble != other.watchTrouble
  }
}
