// Host names to socket addresses, off the loop: getaddrinfo blocks, so it runs on the `resolver` worker.

import Glibc
public import Primitives
public import Ring

/// A `host:port` as configuration writes it.
public struct Endpoint: Hashable, Sendable, CustomStringConvertible {
  public let host: String
  public let port: UInt16

  public init(host: String, port: UInt16) {
    self.host = host
    self.port = port
  }

  /// Reads `host:port`, `1.2.3.4:5`, `[::1]:5`; nil when either part is missing or wrong.
  public init?(_ text: String) {
    guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]),
      port != 0
    else { return nil }
    var host = String(text[..<colon])
    if host.hasPrefix("["), host.hasSuffix("]") {
      host = String(host.dropFirst().dropLast())
    } else if host.contains(":") {
      return nil
    }
    guard !host.isEmpty else { return nil }
    self.init(host: host, port: port)
  }

  public var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }

  /// Set when the host is an IP literal: no look-up, and no server name in TLS.
  public var literal: SocketAddress? { SocketAddress(literal: description) }
}

/// Resolves endpoints on a worker; results are picked up by `deliver()` on the loop.
///
/// Every question is answered within `Resolver.patience`, whatever the system's resolver does. A look-up that
/// hangs cannot be ended, but it is one look-up: whoever asks for the same name meanwhile waits for it, and never
/// starts another. So names that hang take at most one thread each, and the rest of the worker's threads stay
/// free for the others.
public final class Resolver: TimerHandler {
  /// All addresses in the system's order of preference, or the system's words on why there are none.
  public enum Answer: Sendable {
    case addresses([SocketAddress])
    case failed(String)
  }

  /// How a name is looked up; blocks. The system's way, but for tests.
  public typealias LookUp = @Sendable (Endpoint) -> Answer

  /// How long a question may take. Reason: as long as one server of /etc/resolv.conf may.
  public static let patience: Duration = .seconds(5)

  private struct Result: Sendable {
    let endpoint: Endpoint
    let answer: Answer
  }

  private struct Question {
    let ticket: Int
    let endpoint: Endpoint
    let deadline: TimerID
    let completion: (Answer) -> Void
  }

  private let worker: any Worker
  private let loop: EventLoop?
  private let lookUp: LookUp
  private let results: Mailbox<Result>
  /// In the order they were asked.
  private var waiting: [Question] = []
  private var underWay: Set<Endpoint> = []
  private var nextTicket = 1

  /// `wake` must lead to `deliver()` on the loop's thread. Without a loop nothing has a deadline: for a worker that
  /// is the caller itself.
  public init(
    worker: any Worker, limits: Limits, loop: EventLoop? = nil, wake: @escaping Waker,
    lookUp: @escaping LookUp = Resolver.systemLookUp
  ) {
    self.worker = worker
    self.loop = loop
    self.lookUp = lookUp
    results = Mailbox(capacity: limits.workerMailbox, wake: wake)
  }

  /// Answers through `completion`, at once for literals.
  public func resolve(_ endpoint: Endpoint, _ completion: @escaping (Answer) -> Void) {
    if let literal = endpoint.literal { return completion(.addresses([literal])) }
    let ticket = nextTicket
    nextTicket += 1
    let deadline = loop.map { $0.schedule(at: $0.now + Resolver.patience, self, tag: ticket) } ?? .none
    waiting.append(
      Question(ticket: ticket, endpoint: endpoint, deadline: deadline, completion: completion))
    guard underWay.insert(endpoint).inserted else { return }
    let (results, lookUp) = (results, lookUp)
    // A result that finds the mailbox full is lost: its questions have their deadlines.
    let accepted = worker.submit { results.push(Result(endpoint: endpoint, answer: lookUp(endpoint))) }
    if !accepted {
      underWay.remove(endpoint)
      answer(.failed("too many names are being looked up")) { $0.ticket == ticket }
    }
  }

  public func deliver() {
    for result in results.drain() {
      underWay.remove(result.endpoint)
      answer(result.answer) { $0.endpoint == result.endpoint }
    }
  }

  public func timerFired(_ id: TimerID, tag: Int) {
    let seconds = Int(Resolver.patience.inSeconds)
    answer(
      .failed(
        "the system's resolver has not answered for \(seconds) s; the name servers of /etc/resolv.conf "
          + "cannot be reached, or do not answer for this name")
    ) { $0.ticket == tag }
  }

  private func answer(_ answer: Answer, _ isMeant: (Question) -> Bool) {
    let answered = waiting.filter(isMeant)
    waiting.removeAll(where: isMeant)
    for question in answered {
      loop?.cancel(question.deadline)
      question.completion(answer)
    }
  }

  /// getaddrinfo. Asks anew each time: nothing is remembered here.
  @Sendable public static func systemLookUp(_ endpoint: Endpoint) -> Answer {
    var hints = unsafe addrinfo()
    unsafe hints.ai_family = AF_UNSPEC
    unsafe hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    unsafe hints.ai_flags = AI_ADDRCONFIG
    var list: UnsafeMutablePointer<addrinfo>?
    let code = unsafe getaddrinfo(endpoint.host, String(endpoint.port), &hints, &list)
    guard code == 0 else { return .failed(unsafe String(cString: gai_strerror(code))) }
    defer { unsafe freeaddrinfo(list) }
    var addresses: [SocketAddress] = []
    var next = unsafe list
    while let entry = unsafe next {
      if let address = unsafe Resolver.address(of: entry.pointee), !addresses.contains(address) {
        addresses.append(address)
      }
      unsafe next = entry.pointee.ai_next
    }
    return addresses.isEmpty ? .failed("the name has no address") : .addresses(addresses)
  }

  private static func address(of entry: addrinfo) -> SocketAddress? {
    var host = [CChar](repeating: 0, count: Int(NI_MAXHOST))
    var service = [CChar](repeating: 0, count: Int(NI_MAXSERV))
    let code = unsafe getnameinfo(
      entry.ai_addr, entry.ai_addrlen, &host, socklen_t(host.count), &service,
      socklen_t(service.count), NI_NUMERICHOST | NI_NUMERICSERV)
    guard code == 0 else { return nil }
    func text(_ characters: [CChar]) -> String {
      String(decoding: characters.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
    guard let port = UInt16(text(service)) else { return nil }
    return Endpoint(host: text(host), port: port).literal
  }
}
