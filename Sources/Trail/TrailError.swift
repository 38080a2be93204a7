// Why the audit log cannot be written, for the operator who has to make room or mend rights.

internal import Glibc
public import Primitives

public enum TrailError: Explained, Equatable {
  /// Another process holds the log.
  case locked(path: String)
  case full(path: String)
  /// No larger file is allowed.
  case tooLarge(path: String)
  case readOnly(path: String)
  case forbidden(path: String)
  /// Another file was put in its place.
  case replaced(path: String)
  case notAFile(path: String)
  /// The log was to go on where there is one.
  case taken(path: String)
  case failed(path: String, call: String, number: Int32)

  init(_ path: String, _ call: String, _ number: Int32) {
    self =
      switch number {
      case ENOSPC, EDQUOT: .full(path: path)
      case EFBIG: .tooLarge(path: path)
      case EROFS: .readOnly(path: path)
      case EACCES, EPERM: .forbidden(path: path)
      case ELOOP: .notAFile(path: path)
      default: .failed(path: path, call: call, number: number)
      }
  }

  public var what: String {
    switch self {
    case .locked(let path): "The audit log \(path) is in use by another process"
    case .full(let path): "No room to write the audit log \(path)"
    case .tooLarge(let path): "The audit log \(path) may not grow further"
    case .readOnly(let path): "The audit log \(path) is on a file system that is mounted read-only"
    case .forbidden(let path): "Not allowed to write the audit log \(path)"
    case .replaced(let path): "Another file has taken the place of the audit log \(path)"
    case .notAFile(let path): "The audit log \(path) is no regular file"
    case .taken(let path): "There is an audit log at \(path) already"
    case .failed(let path, let call, let number):
      "Cannot write the audit log \(path): \(call): \(unsafe String(cString: strerror(number)))"
    }
  }

  public var why: String {
    switch self {
    case .locked: "Two relays must not write one chain"
    case .full: "The disk or a quota is full"
    case .tooLarge: "A limit on the size of files (RLIMIT_FSIZE) is reached"
    case .replaced: "Two files of one name would make a chain that nobody can verify"
    case .taken: "Two chains do not become one"
    case .readOnly, .forbidden, .notAFile, .failed: ""
    }
  }

  public var howToFix: String {
    switch self {
    case .locked: "Stop the other one, or give this relay its own audit.path"
    case .full, .tooLarge: "Make room; writing is tried again every second"
    case .readOnly: "Mount it for writing, or set audit.path elsewhere"
    case .forbidden: "Give its folder to the user of the service (LogsDirectory= does)"
    case .replaced: "Move the other file away"
    case .notAFile: "Remove what stands there, or set audit.path elsewhere"
    case .taken: "Move its files away and reload, or restart: then that log goes on"
    case .failed: "Check that its folder exists and that the disk is sound"
    }
  }

  public var blame: Blame { .operator }
}
