// The workers of one process and its logger, which writes on one of them.

import Dispatch
import Logging
import Primitives
import Tier

final class Crew: Sendable {
  /// Names looked up at once. Reason: a name that hangs takes a thread; a relay has a handful of upstreams.
  private static let namesAtOnce = 4

  private let identity: ThreadWorker
  private let manifests: ThreadWorker
  private let publisher: ThreadWorker
  private let resolver: WorkerPool
  private let store: ThreadWorker
  /// Writes the audit log. Apart from `workers`: it belongs to the log, not to what runs on the control loop.
  let audit: ThreadWorker
  private let journal: ThreadWorker
  /// Lines of the audit log on their way to the journal; nil where there is no journal.
  let mirror: AuditMirror?
  let logger: Logger

  init(limits: Limits) {
    identity = ThreadWorker(name: "identity", capacity: limits.workerMailbox)
    manifests = ThreadWorker(name: "manifests", capacity: limits.workerMailbox)
    publisher = ThreadWorker(name: "publisher", capacity: limits.workerMailbox)
    resolver = WorkerPool(name: "resolver", threads: Crew.namesAtOnce, capacity: limits.workerMailbox)
    store = ThreadWorker(name: "store", capacity: limits.workerMailbox)
    audit = ThreadWorker(name: "audit", capacity: limits.workerMailbox)
    let journal = ThreadWorker(name: "journal", capacity: limits.workerMailbox)
    self.journal = journal
    let destination = LogDestination(worker: journal)
    mirror = destination.form == .journal ? AuditMirror(worker: journal) : nil
    logger = Logger(label: "meshrelay") { JournalLog(label: $0, destination: destination) }
  }

  var workers: Workers {
    Workers(identity: identity, manifests: manifests, publisher: publisher, resolver: resolver, store: store)
  }

  func log(_ event: TierEvent) {
    var metadata: Logger.Metadata = [:]
    for (name, fields) in Dictionary(grouping: event.fields, by: \.name) {
      // A name may stand several times: all problems of a file are told.
      metadata[name] =
        fields.count == 1 ? "\(fields[0].value)" : .array(fields.map { "\($0.value)" })
    }
    logger.log(level: event.level.logLevel, "\(event.message)", metadata: metadata)
  }

  /// Runs what waits and ends every thread; the journal last, because the others may still speak.
  func stop() {
    resolver.stop()
    for worker in [identity, manifests, publisher, store, audit, journal] { worker.stop() }
  }
}

extension TierEvent.Level {
  fileprivate var logLevel: Logger.Level {
    switch self {
    case .debug: .debug
    case .info: .info
    case .notice: .notice
    case .warning: .warning
    case .error: .error
    }
  }
}
