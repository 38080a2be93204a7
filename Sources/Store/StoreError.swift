// What keeps the store from reading or writing. None of it stops serving: the relay goes on with what it
// has in memory, and says so.

internal import Glibc
public import Primitives

/// Why the store could not do what it was asked.
public enum StoreError: Explained, Equatable {
  /// The folder or file cannot be made, opened or renamed. `number` is the system's errno.
  case unreachable(path: String, number: Int32)
  /// The disk, or the quota on it, is full.
  case full(path: String)
  /// The file system takes no writes.
  case readOnly(path: String)
  /// Another process has the store open.
  case inUse(path: String)
  /// Any other failure of reading or writing; `reason` is SQLite's.
  case failed(path: String, reason: String)
  /// It was damaged or of a newer format: it is out of the way, and the next call begins an empty one.
  case setAside(SetAside)
  /// A store that is only looked into has a log that was not taken over.
  case unsettled(path: String)
  /// What the store holds could not be read at the start; only a complete snapshot may replace it.
  case unread(path: String)
  /// No kept version, or several, begin with these digits.
  case noSuchVersion(String)
  case ambiguousVersion(String)

  public var what: String {
    switch self {
    case .unreachable(let path, let number): "\(path) cannot be used (\(SystemError.name(number)))"
    case .full(let path): "There is no room left to write \(path)"
    case .readOnly(let path): "\(path) is on a file system that takes no writes"
    case .inUse(let path): "Another process has \(path) open"
    case .failed(let path, let reason): "\(path) cannot be read or written (\(reason))"
    case .setAside(let finding): finding.what
    case .unsettled(let path): "A log with something that \(path) lacks lies beside it"
    case .unread(let path):
      "The snapshot in \(path) could not be read, and what is served now is not complete"
    case .noSuchVersion(let prefix): "No kept version begins with \(prefix)"
    case .ambiguousVersion(let prefix): "Several kept versions begin with \(prefix)"
    }
  }

  public var why: String {
    switch self {
    case .unreachable(_, EACCES), .unreachable(_, EPERM): "It belongs to another user than meshrelay's"
    case .unreachable(_, ENOTDIR): "A part of the path is a file"
    case .readOnly: "It was mounted so, or the kernel made it so after a fault of the disk"
    case .inUse: "It is running, or two relays have the same `state` folder"
    case .setAside(let finding): finding.why
    case .unsettled: "The relay ended in the middle of a save"
    case .unread: "Replacing it now could lose what it holds of other types"
    case .unreachable, .full, .failed, .noSuchVersion, .ambiguousVersion: ""
    }
  }

  public var howToFix: String {
    switch self {
    case .unreachable: "Let `state` name a folder that the user of meshrelay may write"
    case .full: "Make room: it is tried again by itself"
    case .readOnly: "Check the disk (dmesg) and mount it writable"
    case .inUse: "Ask that relay; if it is another one, give each a `state` folder of its own"
    case .failed: "Check the disk (dmesg)"
    case .setAside(let finding): finding.howToFix
    case .unsettled: "Start the relay once, and export from it"
    case .unread: "Check the disk; the store is written again once every source has delivered"
    case .noSuchVersion: "`meshrelay history` lists the versions"
    case .ambiguousVersion: "Give more digits"
    }
  }

  public var blame: Blame {
    switch self {
    case .unreachable, .inUse, .unsettled, .noSuchVersion, .ambiguousVersion: .operator
    case .full, .readOnly, .failed, .unread: .kernel
    case .setAside(let finding): finding.blame
    }
  }
}

/// A store that must not be used, and where it is now.
public struct SetAside: Explained, Equatable {
  public enum Reason: Sendable, Equatable {
    /// Its bytes are not what was written; the text says where that showed.
    case damaged(String)
    /// Written by a later release, with this format number.
    case newerFormat(Int)
  }

  public let reason: Reason
  /// Where the file was.
  public let path: String
  /// Where it is now.
  public let movedTo: String

  public var what: String {
    switch reason {
    case .damaged(let place): "The store \(path) is damaged (\(place)) and was set aside as \(movedTo)"
    case .newerFormat(let number):
      "The store \(path) has format \(number), newer than this release, and was set aside as \(movedTo)"
    }
  }

  public var why: String {
    switch reason {
    case .damaged: "A fault of disk or memory, or an edit by another program"
    case .newerFormat: "A later release ran here before"
    }
  }

  public var howToFix: String {
    switch reason {
    case .damaged:
      "Nothing of it is served: clients keep what they hold until the sources have delivered. Check the disk"
    case .newerFormat:
      "To use it again, install that release, stop meshrelay and rename the file back"
    }
  }

  public var blame: Blame {
    switch reason {
    case .damaged: .kernel
    case .newerFormat: .operator
    }
  }
}

/// Found while reading: the content is not what was written. Never leaves the room.
struct Damage: Error {
  let place: String

  init(_ place: String) { self.place = place }
}

/// Found while opening: a later release's format. Never leaves the room.
struct NewerFormat: Error {
  let number: Int
}
