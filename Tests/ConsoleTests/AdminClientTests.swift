// Goal: a command gets the relay's answer, or an error that says what to do and which exit code it means.
// Method: the real admin server on a Unix socket and on loopback; addresses where nothing is.

import Admin
import AdminServer
import Console
import Glibc
import Testing

struct AdminClientTests {
  @Test func asksOverUnixSocketAndLoopback() throws {
    let path = "/tmp/meshrelay-client-\(getpid()).sock"
    let server = try AdminInterface(
      at: [.unix(path: path), .loopback(host: "127.0.0.1", port: 0), .loopback(host: "::1", port: 0)]
    ) { request, reply in
      reply(.text(String(repeating: "x", count: 300_000) + request.target))
    }
    defer { server.stop() }
    for address in server.addresses {
      let body = try AdminClient(address).body(of: .healthz)
      #expect(body.count == 300_008)
      #expect(String(decoding: body.suffix(8), as: UTF8.self) == "/healthz")
    }
    let command = AdminRequest.command(.pin(cluster: "a", version: "01234567"))
    let body = try AdminClient(server.addresses[0]).body(of: command)
    #expect(String(decoding: body.dropFirst(300_000), as: UTF8.self) == command.target)
  }

  @Test func aRefusalKeepsTheRelaysWords() throws {
    let server = try AdminInterface(at: [.loopback(host: "127.0.0.1", port: 0)]) { _, reply in
      reply(.error(status: 503, "not now\u{1B}"))
    }
    defer { server.stop() }
    let client = AdminClient(server.addresses[0])
    let error = #expect(throws: AdminClientError.self) { try client.body(of: .readyz) }
    #expect(error == .refused(status: 503, message: #"not now\u{1b}"#))
    #expect(error?.exitCode == 1)
    #expect(error?.questionExitCode == 69, "it is neither yes nor no")
    #expect(AdminClientError.refused(status: 403, message: "").questionExitCode == 1)
    #expect(AdminClientError.refused(status: 409, message: "").questionExitCode == 64)
    #expect(AdminClientError.refused(status: 413, message: "").questionExitCode == 64)
    #expect(AdminClientError.refused(status: 400, message: "").questionExitCode == 64)
    #expect(AdminClientError.refused(status: 404, message: "").questionExitCode == 64)
    #expect(AdminClientError.refused(status: 422, message: "").questionExitCode == 1)
    #expect(try client.ask(.readyz).status == 503)
  }

  @Test func nobodyThereIsExitCode69() {
    let missing = AdminAddress.unix(path: "/tmp/meshrelay-missing-\(getpid())/a.sock")
    let error = #expect(throws: AdminClientError.self) { try AdminClient(missing).body(of: .status) }
    #expect(error == .notRunning(missing))
    #expect(error?.exitCode == 69)
    #expect(StatusCommand(address: missing).run() == 69)
  }
}
