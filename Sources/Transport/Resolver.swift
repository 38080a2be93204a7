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
public final class Resolver {
  /// All addresses in the system's order of preference, or the system's words on why there are none.
  public enum Answer: Sendable {
    case addresses([SocketAddress])
    case failed(String)
  }

  private struct Result: Sendable {
    let ticket: Int
    let answer: Answer
  }

  private let worker: any Worker
  private let results: Mailbox<Result>
  private var waiting: [Int: (Answer) -> Void] = [:]
  private var nextTicket = 1

  /// `wake` must lead to `deliver()` on the loop's thread.
  public init(worker: any Worker, limits: Limits, wake: @escaping Waker) {
    self.worker = worker
    results = Mailbox(capacity: limits.workerMailbox, wake: wake)
  }

  /// Answers through `completion`, at once for literals.
  public func resolve(_ endpoint: Endpoint, _ completion: @escaping (Answer) -> Void) {
    if let literal = endpoint.literal { return completion(.addresses([literal])) }
    let ticket = nextTicket
    nextTicket += 1
    waiting[ticket] = completion
    let results = results
    let accepted = worker.submit {
      results.push(Result(ticket: ticket, answer: Resolver.lookUp(endpoint)))
    }
    if !accepted, let completion = waiting.removeValue(forKey: ticket) {
      completion(.failed("too many names are being looked up"))
    }
  }

  public func deliver() {
    for result in results.drain() {
      waiting.removeValue(forKey: result.ticket)?(result.answer)
    }
  }

  private static func lookUp(_ endpoint: Endpoint) -> Answer {
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
