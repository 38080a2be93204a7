// Goal: the admin interface answers what each listener may, bounds what it takes in, and treats its
// socket file with care.
// Method: a real server on a Unix socket in a temporary folder and on a loopback port, spoken to in raw
// HTTP, so that malformed requests can be sent too.

import Admin
import AdminServer
import Glibc
import Synchronization
import Testing

struct AdminInterfaceTests {
  /// Answers every request with its target; commands are counted as the others.
  static let echo: AdminResponder = { request, reply in reply(.text(request.target)) }

  @Test func unixSocketAnswersEverything() throws {
    let folder = try TemporaryFolder()
    let server = try AdminInterface(at: [.unix(path: folder.path("a.sock"))], respond: Self.echo)
    defer { server.stop() }
    for target in ["/healthz", "/status", "/dump?as=spiffe://td/a"] {
      let answer = try Wire(server.addresses[0]).exchange(
        "GET \(target) HTTP/1.1\r\nConnection: close\r\n\r\n")
      #expect(answer.hasPrefix("HTTP/1.1 200 OK\r\n"))
      #expect(answer.hasSuffix("\r\n\r\n" + target))
      #expect(answer.contains("Content-Length: \(target.utf8.count)\r\n"))
    }
    let answer = try Wire(server.addresses[0])
      .exchange("POST /freeze HTTP/1.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    #expect(answer.hasSuffix("\r\n\r\n/freeze"))
  }

  @Test(arguments: [
    ("GET", "/healthz", 200), ("GET", "/readyz", 200), ("GET", "/metrics", 200), ("GET", "/status", 403),
    ("GET", "/dump?as=spiffe://td/a", 403), ("POST", "/freeze", 403), ("GET", "/nothing", 404),
    ("POST", "/healthz", 405), ("GET", "/explain", 400),
  ])
  func loopbackAnswersProbesAndMetricsOnly(method: String, target: String, status: Int) throws {
    let server = try AdminInterface(at: [.loopback(host: "127.0.0.1", port: 0)], respond: Self.echo)
    defer { server.stop() }
    let answer = try Wire(server.addresses[0])
      .exchange("\(method) \(target) HTTP/1.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    #expect(answer.hasPrefix("HTTP/1.1 \(status) "))
  }

  @Test func oneConnectionCarriesSeveralRequestsInOrder() throws {
    let server = try AdminInterface(at: [.loopback(host: "::1", port: 0)]) { request, reply in
      Task.detached { reply(.text("answer to \(request.target)")) }
    }
    defer { server.stop() }
    let answer = try Wire(server.addresses[0]).exchange(
      "GET /healthz HTTP/1.1\r\n\r\nGET /readyz HTTP/1.1\r\n\r\nGET /metrics HTTP/1.1\r\nConnection: close\r\n\r\n"
    )
    let order = ["answer to /healthz", "answer to /readyz", "answer to /metrics"].map {
      answer.split(separator: $0, omittingEmptySubsequences: false).count
    }
    #expect(order == [2, 2, 2])
    #expect(answer.hasSuffix("answer to /metrics"))
  }

  @Test(arguments: [(0, 200), (1, 413)])
  func bodiesEndAtOneMebibyte(excess: Int, status: Int) throws {
    let folder = try TemporaryFolder()
    let server = try AdminInterface(at: [.unix(path: folder.path("a.sock"))], respond: Self.echo)
    defer { server.stop() }
    let size = AdminRequest.bodyBytesMost(target: "/x") + excess
    let answer = try Wire(server.addresses[0]).exchange(
      "POST /freeze HTTP/1.1\r\nContent-Length: \(size)\r\nConnection: close\r\n\r\n"
        + String(repeating: "x", count: size))
    #expect(answer.hasPrefix("HTTP/1.1 \(status) "))
  }

  /// Named, because the test log prints arguments and these are long.
  enum Malformed: CaseIterable {
    case longHeader, longTarget, nonsense, negativeLength, tls

    var text: String {
      let long = String(repeating: "y", count: AdminInterface.headerBytesMax + 1)
      return switch self {
      case .longHeader: "GET /healthz HTTP/1.1\r\nX: \(long)\r\n\r\n"
      case .longTarget: "GET /\(long) HTTP/1.1\r\n\r\n"
      case .nonsense: "nonsense\r\n\r\n"
      case .negativeLength: "GET /healthz HTTP/1.1\r\nContent-Length: -1\r\n\r\n"
      case .tls: "\u{16}\u{3}\u{1}\u{0}\u{0}"
      }
    }
  }

  @Test(arguments: Malformed.allCases)
  func whatIsNoRequestIsNotAsked(_ malformed: Malformed) throws {
    let asked = Counter()
    let server = try AdminInterface(at: [.loopback(host: "127.0.0.1", port: 0)]) { _, reply in
      asked.add()
      reply(.text("asked"))
    }
    defer { server.stop() }
    let answer = try Wire(server.addresses[0]).exchange(malformed.text)
    #expect(answer.isEmpty || answer.hasPrefix("HTTP/1.1 400 "))
    #expect(asked.value == 0)
  }

  @Test func aSilentRelayIsReportedAndItsLateReplyDropped() throws {
    let kept = Mutex<[@Sendable (AdminReply) -> Void]>([])
    let server = try AdminInterface(
      at: [.loopback(host: "127.0.0.1", port: 0)], answerWithin: .milliseconds(20)
    ) { request, reply in
      if request == .healthz { kept.withLock { $0.append(reply) } } else { reply(.text("fine")) }
    }
    defer { server.stop() }
    let wire = try Wire(server.addresses[0])
    try wire.send("GET /healthz HTTP/1.1\r\n\r\n")
    let first = try wire.receive(until: "\"}")
    #expect(first.hasPrefix("HTTP/1.1 503 "))
    for reply in kept.withLock({ $0 }) { reply(.text("late")) }
    let second = try wire.exchange("GET /readyz HTTP/1.1\r\nConnection: close\r\n\r\n")
    #expect(second.hasPrefix("HTTP/1.1 200 ") && second.hasSuffix("fine") && !second.contains("late"))
  }

  @Test(arguments: ["", "GET /healthz HTTP/1.1\r\n"]) func aConnectionThatSaysNothingIsClosed(_ part: String)
    throws
  {
    let server = try AdminInterface(
      at: [.loopback(host: "127.0.0.1", port: 0)], answerWithin: .milliseconds(1), idle: .milliseconds(50),
      respond: Self.echo)
    defer { server.stop() }
    #expect(try Wire(server.addresses[0]).exchange(part) == "")
  }

  @Test func aFullListenerClosesTheNextAndLeavesTheOtherAlone() throws {
    let folder = try TemporaryFolder()
    let server = try AdminInterface(
      at: [.loopback(host: "127.0.0.1", port: 0), .unix(path: folder.path("a.sock"))], respond: Self.echo)
    defer { server.stop() }
    // Each proves with an answer that it was let in, before the next comes.
    let held = try (0..<AdminInterface.connectionsMax).map { _ in
      let wire = try Wire(server.addresses[0])
      try wire.send("GET /healthz HTTP/1.1\r\n\r\n")
      #expect(try wire.receive(until: "/healthz").hasPrefix("HTTP/1.1 200 "))
      return wire
    }
    #expect(try Wire(server.addresses[0]).exchange("GET /healthz HTTP/1.1\r\n\r\n") == "")
    let other = try Wire(server.addresses[1]).exchange("GET /status HTTP/1.1\r\nConnection: close\r\n\r\n")
    #expect(other.hasPrefix("HTTP/1.1 200 "))
    withExtendedLifetime(held) {}
  }
}
