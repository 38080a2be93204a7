// What a directory holds at one moment, as values: the input of `DirectoryState`, made by FolderWalk.swift
// from a real directory and by tests from nothing.

/// What tells whether a file changed since it was read.
public struct FileStamp: Hashable, Sendable {
  public var device: UInt64
  public var inode: UInt64
  /// Bytes.
  public var size: Int64
  /// Nanoseconds since 1970: content.
  public var modified: Int64
  /// Nanoseconds since 1970: content or inode. Cannot be set back, unlike `modified`.
  public var changed: Int64

  public init(device: UInt64 = 0, inode: UInt64, size: Int64 = 0, modified: Int64 = 0, changed: Int64 = 0) {
    self.device = device
    self.inode = inode
    self.size = size
    self.modified = modified
    self.changed = changed
  }
}

/// One manifest file.
public struct ListedFile: Hashable, Sendable {
  /// Below the directory, `team-a/reviews.yaml`.
  public var path: String
  public var stamp: FileStamp

  public init(path: String, stamp: FileStamp) {
    self.path = path
    self.stamp = stamp
  }
}

/// All manifest files below a directory.
public struct FolderListing: Sendable {
  /// In the byte order of their paths.
  public let files: [ListedFile]
  /// Folders below the directory that could not be listed, with the reason: what they hold is unknown.
  public let unreadableFolders: [String: String]

  public init(files: [ListedFile], unreadableFolders: [String: String] = [:]) {
    self.files = files.sorted { $0.path.utf8.lexicographicallyPrecedes($1.path.utf8) }
    self.unreadableFolders = unreadableFolders
  }

  /// Whether `path` lies in a folder that could not be listed.
  func isHidden(_ path: String) -> Bool {
    unreadableFolders.keys.contains { path.hasPrefix($0 + "/") }
  }
}

/// What reading one file gave.
public enum FileContent: Sendable {
  case bytes([UInt8])
  case unreadable(String)
  /// Somebody is still writing it: what it said before stays true for now.
  case unsettled
}
