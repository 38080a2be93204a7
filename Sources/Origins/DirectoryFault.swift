// What can be wrong with a directory as a whole. Such a fault never deletes anything: the last good state
// stays in use until the directory is sound again.

public import Primitives

/// Why a directory of manifests cannot be taken for the truth at the moment.
public enum DirectoryFault: Explained, Equatable {
  /// Nothing at this path, or no folder.
  case missing(path: String, reason: String)
  /// The folder is there but cannot be listed.
  case unreadable(path: String, reason: String)
  /// No manifest is left although objects came from here before.
  case empty(path: String, held: Int)
  /// More files or folders than `DirectoryLimits` allow.
  case tooMany(path: String, limit: Int)

  /// The folder is there, and empty: that may be meant.
  public var isEmpty: Bool { if case .empty = self { true } else { false } }

  public var what: String {
    switch self {
    case .missing(let path, let reason): "The directory \(path) is not there (\(reason))"
    case .unreadable(let path, let reason): "The directory \(path) cannot be read (\(reason))"
    case .empty(let path, _): "The directory \(path) has no manifest any more"
    case .tooMany(let path, let limit): "The directory \(path) has more than \(limit) files and folders"
    }
  }

  public var why: String {
    switch self {
    case .missing: "It was moved or removed, or what holds it is not mounted"
    case .unreadable: "Its permissions do not let this process in, or its disk fails"
    case .empty(_, let held):
      "A checkout that failed or a lost mount looks like this; the \(held) objects it had stay in use"
    case .tooMany: "The path may be wrong"
    }
  }

  public var howToFix: String {
    switch self {
    case .missing, .unreadable: "Restore it or correct the path; it is looked at again by itself"
    case .empty: "Restore the files, or leave one file without objects if all are meant to go"
    case .tooMany: "Point to the folder that holds manifests only"
    }
  }

  public var blame: Blame { .operator }
}
