// What a directory of manifests says, and what that changes. Pure: lists and contents of files go in, source
// updates come out; no kernel, no clock.
//
//   listing ──► filesToRead ──(somebody reads them)──► update ──► DirectoryReport
//
// Promise: one bad thing never stops the rest, and never takes away what was good. An object is removed only
// when the files are readable and none of them can mean it any more.

import Documents
public import Manifests
public import Primitives
public import Snapshots

public struct DirectoryState: Sendable {
  /// Name of the source in the configuration.
  public let source: String
  /// How places name the directory: as the operator wrote it.
  private let folder: String
  private let options: ManifestOptions
  /// Of objects that are read from now on.
  var limits: Limits
  private let intake: Intake

  private var files: [String: HeldFile] = [:]
  private var inUse: [ObjectIdentity: ObjectInUse] = [:]
  private var hasDelivered = false

  /// What one file said when it was last read.
  private struct HeldFile: Sendable {
    /// Nil: to be read again at the next look, whatever its stamp.
    var stamp: FileStamp?
    var objects: [FoundObject] = []
    var rejected: [RejectedObject] = []
    /// Part of it could not be understood, so it may mean any object.
    var isOpaque = false
  }

  private struct FoundObject: Sendable {
    let identity: ObjectIdentity
    let place: SourcePosition
    let resource: Resource
  }

  private struct RejectedObject: Sendable {
    /// Nil: unknown which.
    let identity: ObjectIdentity?
    /// Its names where only the kind is unknown.
    var names: ObjectNames?
    let rejection: Rejection
  }

  private struct ObjectInUse: Sendable {
    let resource: Resource
    /// The files that say so, or that may.
    var owners: Set<String>
  }

  /// An operator said that the folder is meant to be empty. Good for one look.
  public var acceptsEmpty = false

  /// `previous`: what this source had delivered before a restart. It is used where a file is bad now, keeps
  /// creation times, and makes a directory that comes up empty a fault instead of a deletion. `rewrite`: what
  /// becomes of each body before it is hashed.
  public init(
    source: String, folder: String, options: ManifestOptions = ManifestOptions(), limits: Limits = Limits(),
    previous: [Resource] = [], rewrite: BodyRewriter? = nil
  ) {
    self.source = source
    self.folder = folder
    self.options = options
    self.limits = limits
    intake = Intake(
      canonicalize: CanonicalForm(schema: options.schema).bodyCanonicalizer, rewrite: rewrite)
    for resource in previous {
      let identity = ObjectIdentity(type: resource.type, namespace: resource.namespace, name: resource.name)
      inUse[identity] = ObjectInUse(resource: resource, owners: [])
    }
  }

  /// The files whose content `update` needs: new ones, and those whose stamp is another than when they were read.
  public func filesToRead(_ listing: FolderListing) -> [String] {
    listing.files.filter { files[$0.path]?.stamp != $0.stamp }.map(\.path)
  }

  /// Takes over one look at the directory. `contents` holds every file of `filesToRead`; the stamp of a file read
  /// is the one in `listing`. `now` becomes the creation time of objects seen for the first time without one.
  public mutating func update(
    _ listing: FolderListing, contents: [String: FileContent], now: Timestamp
  ) -> DirectoryReport {
    defer { acceptsEmpty = false }
    if listing.files.isEmpty, listing.unreadableFolders.isEmpty, !inUse.isEmpty, !acceptsEmpty {
      return report(fault: .empty(path: folder, held: inUse.count))
    }
    let newcomers = takeOver(listing, contents: contents, now: now)
    let (next, duplicates) = resolve(listing, newcomers: newcomers)
    var report = DirectoryReport(source: source)
    report.updates = updates(to: next)
    inUse = next
    hasDelivered = true
    report.resources = next.count
    report.rejected = rejections(listing, duplicates: duplicates)
    return report
  }

  /// Everything stays as it was, and says why.
  public func report(fault: DirectoryFault) -> DirectoryReport {
    var report = DirectoryReport(source: source)
    report.fault = fault
    report.resources = inUse.count
    report.rejected = files.sorted { $0.key < $1.key }.flatMap { $0.value.rejected.map(\.rejection) }
    return report
  }

  // MARK: Files

  /// Returns the files that were not known before.
  private mutating func takeOver(
    _ listing: FolderListing, contents: [String: FileContent], now: Timestamp
  ) -> Set<String> {
    var next: [String: HeldFile] = files.filter { listing.isHidden($0.key) }
    var newcomers: Set<String> = []
    for file in listing.files {
      let held = files[file.path]
      if held == nil { newcomers.insert(file.path) }
      switch contents[file.path] {
      case .bytes(let bytes):
        if bytes.isEmpty, let held, !held.objects.isEmpty {
          next[file.path] = emptied(held, file)
        } else {
          next[file.path] = read(bytes, of: file, now: now)
        }
      case .unreadable(let reason):
        let place = SourcePosition.start(of: place(file.path))
        let rejection = Rejection(
          place: "\(place)", resource: "", reason: "the file cannot be read (\(reason))")
        next[file.path] = HeldFile(
          stamp: nil, objects: [], rejected: [RejectedObject(identity: nil, rejection: rejection)],
          isOpaque: true)
      case .unsettled, nil:
        var kept = held ?? HeldFile(isOpaque: true)
        if contents[file.path] != nil { kept.stamp = nil }
        next[file.path] = kept
      }
    }
    files = next
    return newcomers
  }

  /// A file of no bytes is what a full disk or a failed copy leaves behind, so its objects stay.
  private func emptied(_ held: HeldFile, _ file: ListedFile) -> HeldFile {
    let rejection = Rejection(
      place: "\(SourcePosition.start(of: place(file.path)))", resource: "",
      reason:
        "the file is empty now, its \(held.objects.count) objects stay in use, remove the file or leave a "
        + "comment in it if they are meant to go")
    return HeldFile(
      stamp: file.stamp, objects: held.objects,
      rejected: [RejectedObject(identity: nil, rejection: rejection)])
  }

  private func read(_ bytes: [UInt8], of file: ListedFile, now: Timestamp) -> HeldFile {
    let contents = ManifestFile.read(bytes, file: place(file.path), options: options)
    var held = HeldFile(stamp: file.stamp)
    for rejected in contents.rejected {
      for problem in rejected.problems {
        held.rejected.append(
          RejectedObject(
            identity: rejected.identity, names: rejected.names,
            rejection: Rejection(problem, resource: rejected.label)))
      }
      if rejected.identity == nil, rejected.names == nil { held.isOpaque = true }
    }
    for object in contents.objects {
      let identity = object.identity
      let draft = object.draft(source: source, firstSeen: inUse[identity]?.resource.createTime ?? now)
      do {
        let resource = try Admission.admit(
          type: identity.type, draft: draft, limits: limits, intake: intake)
        held.objects.append(FoundObject(identity: identity, place: object.position, resource: resource))
      } catch {
        held.rejected.append(
          RejectedObject(
            identity: identity,
            rejection: Rejection(
              place: "\(object.position)", resource: "\(identity)", reason: error.description)))
      }
    }
    return held
  }

  private func place(_ path: String) -> String { folder.hasSuffix("/") ? folder + path : folder + "/" + path }

  // MARK: Objects

  /// All files together: who holds each name, and who wanted it too.
  private func resolve(
    _ listing: FolderListing, newcomers: Set<String>
  ) -> (inUse: [ObjectIdentity: ObjectInUse], duplicates: [RejectedObject]) {
    var next: [ObjectIdentity: ObjectInUse] = [:]
    var places: [ObjectIdentity: SourcePosition] = [:]
    var duplicates: [RejectedObject] = []
    var suspects: [ObjectIdentity: Set<String>] = [:]
    var suspectNames: [ObjectNames: Set<String>] = [:]
    for (path, file) in sortedFiles {
      for object in file.objects {
        if let first = places[object.identity] {
          duplicates.append(Self.duplicate(object, first: first))
        } else {
          places[object.identity] = object.place
          next[object.identity] = ObjectInUse(resource: unchanged(object), owners: [path])
        }
      }
      for rejected in file.rejected {
        if let identity = rejected.identity {
          suspects[identity, default: []].insert(path)
        } else if let names = rejected.names {
          suspectNames[names, default: []].insert(path)
        }
      }
    }
    let opaque = Set(files.filter { $0.value.isOpaque }.keys)
    let opaqueNewcomers = opaque.intersection(newcomers)
    for (identity, held) in inUse where next[identity] == nil {
      // A kind that nobody knows is perhaps this one, misspelt: in the file that held the object before.
      let names = ObjectNames(namespace: identity.namespace, name: identity.name)
      let misspelt = (suspectNames[names] ?? []).intersection(held.owners)
      if let owners = possibleOwners(
        of: held, named: (suspects[identity] ?? []).union(misspelt), opaque: opaque,
        opaqueNewcomers: opaqueNewcomers)
      {
        next[identity] = ObjectInUse(resource: held.resource, owners: owners)
      }
    }
    return (next, duplicates)
  }

  /// The files that may still mean an object that no file says soundly; nil when there are none.
  private func possibleOwners(
    of held: ObjectInUse, named: Set<String>, opaque: Set<String>, opaqueNewcomers: Set<String>
  ) -> Set<String>? {
    if !named.isEmpty { return named }
    let stillOpaque = held.owners.intersection(opaque)
    if !stillOpaque.isEmpty { return stillOpaque }
    // Its file is gone and another that nobody can read has come: perhaps it was renamed.
    let isGone = held.owners.allSatisfy { files[$0] == nil }
    return isGone && !opaqueNewcomers.isEmpty ? opaqueNewcomers : nil
  }

  /// The resource in use when the object says the same: everything downstream compares by identity first.
  private func unchanged(_ object: FoundObject) -> Resource {
    guard let held = inUse[object.identity]?.resource, !held.differs(from: object.resource) else {
      return object.resource
    }
    return held
  }

  private static func duplicate(_ object: FoundObject, first: SourcePosition) -> RejectedObject {
    RejectedObject(
      identity: object.identity,
      rejection: Rejection(
        place: "\(object.place)", resource: "\(object.identity)",
        reason: "the same object is defined at \(first) already, that one counts, remove one of the two"))
  }

  private var sortedFiles: [(key: String, value: HeldFile)] {
    files.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }
  }

  // MARK: Output

  private func updates(to next: [ObjectIdentity: ObjectInUse]) -> [SourceUpdate] {
    hasDelivered ? changes(to: next) : replacements(by: next)
  }

  private func changes(to next: [ObjectIdentity: ObjectInUse]) -> [SourceUpdate] {
    var upserts: [TypeName: [Resource]] = [:]
    var removals: [TypeName: [String]] = [:]
    for (identity, object) in next {
      if let held = inUse[identity], !held.resource.differs(from: object.resource) { continue }
      upserts[identity.type, default: []].append(object.resource)
    }
    for (identity, held) in inUse where next[identity] == nil {
      removals[identity.type, default: []].append(held.resource.wireName)
    }
    return Set(upserts.keys).union(removals.keys).sorted().map { type in
      SourceUpdate(
        source: source,
        kind: .change(
          type, upserts: (upserts[type] ?? []).sorted { $0.wireName < $1.wireName },
          removals: (removals[type] ?? []).sorted()))
    }
  }

  /// Every kind that manifests can supply, so that nothing of an earlier run outlives its file.
  private func replacements(by next: [ObjectIdentity: ObjectInUse]) -> [SourceUpdate] {
    var resources: [TypeName: [Resource]] = [:]
    for kind in Kinds.all where options.schema.contains(message: kind.bodyMessage) {
      resources[kind.type] = []
    }
    for identity in inUse.keys { resources[identity.type] = [] }
    for object in next.values { resources[object.resource.type, default: []].append(object.resource) }
    var updates = resources.sorted { $0.key < $1.key }.map { type, resources in
      SourceUpdate(source: source, kind: .replace(type, resources.sorted { $0.wireName < $1.wireName }))
    }
    updates.append(SourceUpdate(source: source, kind: .complete))
    return updates
  }

  private func rejections(_ listing: FolderListing, duplicates: [RejectedObject]) -> [Rejection] {
    var all = sortedFiles.flatMap { $0.value.rejected.map(rejection) }
    all += duplicates.map(\.rejection)
    for (path, reason) in listing.unreadableFolders.sorted(by: { $0.key < $1.key }) {
      all.append(
        Rejection(
          place: place(path), resource: "",
          reason: "the folder cannot be read (\(reason)), what it held before stays in use"))
    }
    return all
  }

  private func rejection(_ rejected: RejectedObject) -> Rejection {
    var rejection = rejected.rejection
    if let identity = rejected.identity, inUse[identity] != nil {
      rejection.reason += " (the last good version stays in use)"
    }
    return rejection
  }
}

extension Resource {
  /// Whether anything that a client or status shows is another.
  fileprivate func differs(from other: Resource) -> Bool {
    version != other.version || createTime != other.createTime
  }
}

extension Rejection {
  fileprivate init(_ problem: Problem, resource: String) {
    let clauses = [problem.what, problem.why, problem.howToFix].filter { !$0.isEmpty }
    // What stands in a file, or is the name of one, must not be able to forge a line of a log.
    self.init(
      place: ForeignText.line("\(problem.position)"), resource: ForeignText.line(resource),
      reason: ForeignText.line(clauses.joined(separator: ", ")))
  }
}
