// Lists and reads the manifest files below a directory. Runs on a worker: every call may wait for a disk.
//
// Symbolic links are followed, out of the directory too (that is how configuration volumes are made), but
// each folder is entered once, by its inode, so links never lead in circles. Hidden names are skipped.

import Glibc
import Manifests

/// Bounds of what is read from one directory.
public struct DirectoryLimits: Sendable, Equatable {
  /// Files and folders. Reason: a path that is wrong (`/`, a home) must not keep a disk busy for minutes.
  public var entries = 200_000
  /// Levels of folders.
  public var depth = 32

  public init() {}
}

struct FolderWalk {
  /// A manifest file with what is needed to read it.
  struct Found {
    var listed: ListedFile
    /// How to open it.
    let path: String
    /// Where it really lies: what events of its writer name.
    let key: FileKey
  }

  private let root: String
  private let limits: DirectoryLimits
  private let watch: FolderWatch?
  /// False: stamps of plain files are left out, which saves who looks for one object two calls for each file.
  private let needsStamps: Bool
  private(set) var found: [Found] = []
  private(set) var unreadableFolders: [String: String] = [:]
  private(set) var watchTrouble: String?
  private var entered: Set<FolderID> = []
  private var watches: Set<Int32> = []
  private var entries = 0

  init(root: String, limits: DirectoryLimits, watch: FolderWatch?, needsStamps: Bool = true) {
    self.root = root
    self.needsStamps = needsStamps
    self.limits = limits
    self.watch = watch
  }

  var listing: FolderListing {
    FolderListing(files: found.map(\.listed), unreadableFolders: unreadableFolders)
  }

  /// Goes on with these files alone.
  mutating func keep(_ files: [Found]) { found = files }

  mutating func run() throws(DirectoryFault) {
    watchPathToRoot()
    defer { watch?.keepOnly(watches) }
    let id: FolderID
    switch SystemCalls.status(root, followingLinks: true) {
    case .failure(let error): throw .missing(path: root, reason: error.text)
    case .success(let status):
      guard status.kind == .folder else { throw .missing(path: root, reason: "it is no folder") }
      id = status.id
    }
    watchFolder(root, id)
    entered.insert(id)
    switch SystemCalls.entries(in: root) {
    case .failure(let error): throw .unreadable(path: root, reason: error.text)
    case .success(let names): try enter(names, path: root, relative: "", id, depth: 1)
    }
  }

  private mutating func enter(
    _ names: [SystemCalls.Entry], path: String, relative: String, _ folder: FolderID, depth: Int
  ) throws(DirectoryFault) {
    entries += names.count
    guard entries <= limits.entries else { throw .tooMany(path: root, limit: limits.entries) }
    for entry in names.sorted(by: { $0.name < $1.name }) where !entry.name.hasPrefix(".") {
      let name = entry.name
      if entry.isPlainFile, !ManifestFile.isManifest(name: name) { continue }
      let path = path + "/" + name
      let relative = relative.isEmpty ? name : relative + "/" + name
      if entry.isPlainFile, !needsStamps {
        let listed = ListedFile(path: relative, stamp: FileStamp(inode: 0))
        found.append(Found(listed: listed, path: path, key: FileKey(folder: folder, name: name)))
        continue
      }
      switch SystemCalls.status(path, followingLinks: true) {
      case .success(let status) where status.kind == .folder:
        try enterFolder(path, relative: relative, status.id, depth: depth)
      case .success(let status) where status.kind == .file && ManifestFile.isManifest(name: name):
        add(path, relative: relative, status.stamp, in: folder, name: name)
      case .success: break
      case .failure(let error):
        // Gone since it was listed, or a link to nothing: the latter is listed, so that reading names it.
        guard ManifestFile.isManifest(name: name),
          case .success(let link) = SystemCalls.status(path, followingLinks: false)
        else { break }
        if error.number != ENOENT || link.kind == .link {
          add(path, relative: relative, link.stamp, in: folder, name: name)
        }
      }
    }
  }

  private mutating func enterFolder(
    _ path: String, relative: String, _ folder: FolderID, depth: Int
  ) throws(DirectoryFault) {
    guard entered.insert(folder).inserted else { return }
    guard depth < limits.depth else {
      unreadableFolders[relative] = "more than \(limits.depth) levels of folders"
      return
    }
    watchFolder(path, folder)
    switch SystemCalls.entries(in: path) {
    case .success(let names): try enter(names, path: path, relative: relative, folder, depth: depth + 1)
    case .failure(let error) where error.number == ENOENT: break
    case .failure(let error): unreadableFolders[relative] = error.text
    }
  }

  private mutating func add(
    _ path: String, relative: String, _ stamp: FileStamp, in folder: FolderID, name: String
  ) {
    var key = FileKey(folder: folder, name: name)
    if case .success(let status) = SystemCalls.status(path, followingLinks: false), status.kind == .link,
      let target = SystemCalls.realPath(path), let (parent, file) = Self.split(target),
      case .success(let parentStatus) = SystemCalls.status(parent, followingLinks: true)
    {
      watchFolder(parent, parentStatus.id)
      key = FileKey(folder: parentStatus.id, name: file)
    }
    found.append(Found(listed: ListedFile(path: relative, stamp: stamp), path: path, key: key))
  }

  // MARK: Watching

  private mutating func watchFolder(_ path: String, _ id: FolderID) {
    guard let watch else { return }
    note(watch.watchContent(of: path, id))
  }

  /// Watches every name on the way to the root that could make the path lead elsewhere: links, the root itself,
  /// and the first part that does not exist yet.
  private mutating func watchPathToRoot() {
    guard let watch, root.hasPrefix("/") else { return }
    let parts = root.split(separator: "/").map(String.init)
    var parent = ""
    for (index, name) in parts.enumerated() {
      let path = parent + "/" + name
      let status = SystemCalls.status(path, followingLinks: false)
      let kind =
        if case .success(let status) = status { Optional(status.kind) } else { FileStatus.Kind?.none }
      if kind == nil || kind == .link || index == parts.count - 1 {
        note(watch.watchName(name, in: parent.isEmpty ? "/" : parent))
      }
      if kind == nil { return }
      parent = path
    }
  }

  private mutating func note(_ result: Result<Int32, WatchError>) {
    switch result {
    case .success(let descriptor): watches.insert(descriptor)
    // A folder that went away between two calls is noticed by its parent's watch.
    case .failure(let error) where error.number == ENOENT || error.number == ENOTDIR: break
    case .failure(let error): watchTrouble = error.text
    }
  }

  private static func split(_ path: String) -> (folder: String, name: String)? {
    guard let slash = path.lastIndex(of: "/") else { return nil }
    let folder = path[..<slash]
    return (folder.isEmpty ? "/" : String(folder), String(path[path.index(after: slash)...]))
  }
}
