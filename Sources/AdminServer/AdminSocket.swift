// The Unix socket file of the admin interface: who may reach it is decided here, once, before it listens.
//
// Access to the file is the authorization for everything, so: folder 0750, file 0660, group
// `meshrelay-admin` where it exists, and at no moment wider than that. A file left behind by a dead
// process is replaced; one that somebody answers on never is.

import Admin
import Glibc
import Primitives

/// A bound, not yet listening socket with its file.
struct AdminSocket: Sendable {
  static let adminGroup = "meshrelay-admin"

  let path: String
  /// Owned by whoever listens on it.
  let descriptor: CInt
  let notes: [String]
  /// Device and inode of the file that was made, so that another's file is never removed.
  private let file: [UInt64]

  init(path: String) throws(AdminServerError) {
    self.path = path
    try AdminSocket.prepareFolder(of: path)
    try AdminSocket.removeStaleFile(at: path)
    descriptor = try AdminSocket.bound(to: path)
    notes = AdminSocket.openToGroup(path)
    file = AdminSocket.identity(of: path)
  }

  func removeFile() {
    if !file.isEmpty, AdminSocket.identity(of: path) == file { unsafe unlink(path) }
  }

  private static func prepareFolder(of path: String) throws(AdminServerError) {
    let folder = AdminSocket.folder(of: path)
    // A folder that is there is the operator's; one that is made here is not narrowed by the umask.
    if unsafe mkdir(folder, 0o750) == 0 {
      _ = unsafe chmod(folder, 0o750)
    } else if errno != EEXIST {
      throw .cannotMakeFolder(path: folder, reason: reason(errno))
    }
  }

  private static func folder(of path: String) -> String {
    guard let slash = path.lastIndex(of: "/"), slash > path.startIndex else { return "/" }
    return String(path[..<slash])
  }

  private static func removeStaleFile(at path: String) throws(AdminServerError) {
    var facts = stat()
    guard unsafe lstat(path, &facts) == 0 else { return }
    guard facts.st_mode & S_IFMT == S_IFSOCK else { throw .notASocket(path: path) }
    guard !isAnswered(path) else { throw .inUse(path: path) }
    unsafe unlink(path)
  }

  /// Only a refusal proves that nobody is there: any other failure leaves the file alone.
  private static func isAnswered(_ path: String) -> Bool {
    let probe = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard probe >= 0 else { return true }
    defer { close(probe) }
    let result = unsafe withAddress(path) { unsafe connect(probe, $0, $1) }
    return result == 0 || errno != ECONNREFUSED
  }

  private static func bound(to path: String) throws(AdminServerError) -> CInt {
    let address = AdminAddress.unix(path: path)
    let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { throw .cannotListen(address, reason: reason(errno)) }
    // The mode of an unbound socket becomes the mode of its file: nobody else can connect in between.
    fchmod(descriptor, 0o600)
    guard unsafe withAddress(path, { unsafe bind(descriptor, $0, $1) }) == 0 else {
      let code = errno
      close(descriptor)
      throw .cannotListen(address, reason: reason(code))
    }
    return descriptor
  }

  /// Gives the file, and a folder that is closed to others, to the admin group.
  private static func openToGroup(_ path: String) -> [String] {
    var notes: [String] = []
    if let adminGroup = groupID(AdminSocket.adminGroup) {
      let folder = AdminSocket.folder(of: path)
      for target in [folder, path] where needsGroup(target, adminGroup) {
        if unsafe chown(target, uid_t.max, adminGroup) != 0 {
          notes.append(
            "Cannot give \(target) to the group \(AdminSocket.adminGroup) (\(reason(errno))); "
              + "its members cannot reach the admin socket unless they may already")
        }
      }
    }
    if unsafe chmod(path, 0o660) != 0 {
      notes.append("Cannot open \(path) to its group (\(reason(errno))); only this user can reach it")
    }
    return notes
  }

  /// A folder that others may enter (as /tmp) is not this socket's own and is left as it is.
  private static func needsGroup(_ path: String, _ wanted: gid_t) -> Bool {
    var facts = stat()
    guard unsafe lstat(path, &facts) == 0, facts.st_gid != wanted else { return false }
    return facts.st_mode & S_IFMT == S_IFSOCK || facts.st_mode & 0o007 == 0
  }

  private static func groupID(_ name: String) -> gid_t? {
    var entry = unsafe group()
    var found: UnsafeMutablePointer<group>?
    var buffer = [CChar](repeating: 0, count: 16 * 1024)
    let result = unsafe getgrnam_r(name, &entry, &buffer, buffer.count, &found)
    return unsafe result == 0 && found != nil ? entry.gr_gid : nil
  }

  private static func identity(of path: String) -> [UInt64] {
    var facts = stat()
    guard unsafe lstat(path, &facts) == 0 else { return [] }
    return [UInt64(facts.st_dev), UInt64(facts.st_ino)]
  }

  private static func reason(_ code: CInt) -> String { unsafe String(cString: strerror(code)) }

  /// `path` has at most `AdminAddress.pathBytesMax` bytes, which `AdminAddress` saw to.
  private static func withAddress(
    _ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> CInt
  ) -> CInt {
    precondition(path.utf8.count <= AdminAddress.pathBytesMax, "admin socket path above sun_path")
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: path.utf8) }
    return unsafe withUnsafePointer(to: &address) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
  }
}
