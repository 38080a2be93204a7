// Goal: the socket file is never wider open than 0660, never stolen from a living relay, and gone afterwards.
// Method: the file is looked at beside a real server; stale, living and foreign files are put in its way.

import Admin
import AdminServer
import Glibc
import Testing

struct AdminSocketTests {
  @Test func folderAndFileAreClosedToOthers() throws {
    let folder = try TemporaryFolder()
    let path = folder.path("sub/a.sock")
    let server = try AdminInterface(at: [.unix(path: path)], respond: AdminInterfaceTests.echo)
    #expect(mode(of: path) == 0o660)
    #expect(mode(of: folder.path("sub")) == 0o750)
    server.stop()
    #expect(mode(of: path) == nil)
  }

  @Test func aStaleFileIsReplaced() throws {
    let folder = try TemporaryFolder()
    let path = folder.path("a.sock")
    try leaveStaleSocket(at: path)
    #expect(mode(of: path) != nil)
    let server = try AdminInterface(at: [.unix(path: path)], respond: AdminInterfaceTests.echo)
    defer { server.stop() }
    let answer = try Wire(server.addresses[0]).exchange("GET /readyz HTTP/1.1\r\nConnection: close\r\n\r\n")
    #expect(answer.hasPrefix("HTTP/1.1 200 "))
  }

  @Test func aLivingRelayKeepsItsSocket() throws {
    let folder = try TemporaryFolder()
    let path = folder.path("a.sock")
    let server = try AdminInterface(at: [.unix(path: path)], respond: AdminInterfaceTests.echo)
    defer { server.stop() }
    #expect(throws: AdminServerError.inUse(path: path)) {
      try AdminInterface(at: [.unix(path: path)], respond: AdminInterfaceTests.echo)
    }
    let answer = try Wire(.unix(path: path)).exchange("GET /readyz HTTP/1.1\r\nConnection: close\r\n\r\n")
    #expect(answer.hasPrefix("HTTP/1.1 200 "))
  }

  @Test func whatIsNoSocketIsLeftAlone() throws {
    let folder = try TemporaryFolder()
    let path = folder.path("a.sock")
    close(unsafe open(path, O_CREAT | O_WRONLY, 0o600))
    #expect(throws: AdminServerError.notASocket(path: path)) {
      try AdminInterface(at: [.unix(path: path)], respond: AdminInterfaceTests.echo)
    }
    #expect(mode(of: path) == 0o600)
  }

  @Test func aFailureAtTheSecondAddressClosesTheFirst() throws {
    let folder = try TemporaryFolder()
    let path = folder.path("a.sock")
    let other = folder.path("missing/deeper/b.sock")
    #expect(throws: AdminServerError.self) {
      try AdminInterface(at: [.unix(path: path), .unix(path: other)], respond: AdminInterfaceTests.echo)
    }
    #expect(mode(of: path) == nil)
  }

  private func mode(of path: String) -> mode_t? {
    var facts = stat()
    guard unsafe lstat(path, &facts) == 0 else { return nil }
    return facts.st_mode & 0o777
  }
}
