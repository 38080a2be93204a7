// The admin interface of one relay: HTTP on a Unix socket (everything) and on loopback TCP (probes and
// metrics). It stands beside the loops and never inside one: one thread and one SwiftNIO event loop of
// its own. What to answer comes from a closure, so nothing here knows a relay.
//
// Source: RFC 9112 (by NIOHTTP1). Must never serve a request that is not `isOpen` over TCP, and never
// take over a socket that somebody still answers on.

public import Admin
import NIOCore
import NIOHTTP1
import NIOPosix
import Primitives

/// Answers one request by calling `reply` once, from any thread, soon: after the server's
/// `answerWithin` the asker is told that the relay does not answer, and a later reply is dropped.
public typealias AdminResponder =
  @Sendable (_ request: AdminRequest, _ reply: @escaping @Sendable (AdminReply) -> Void) -> Void

public final class AdminInterface: Sendable {
  /// Connections at once, per address, so that a busy TCP port cannot lock out the Unix socket.
  public static let connectionsMax = 64
  /// Decoded header bytes of one request. Reason: a SPIFFE ID has at most 2,048 bytes.
  public static let headerBytesMax = 16 * 1024
  /// A connection on which nothing moves is closed after this.
  public static let idle: Duration = .seconds(30)
  /// Where it listens, in the order given, with port 0 resolved.
  public let addresses: [AdminAddress]
  /// What an operator should know though it stopped nothing; one sentence each, for the log.
  public let notes: [String]

  private let group: MultiThreadedEventLoopGroup
  private let listeners: [any Channel]
  private let sockets: [AdminSocket]

  /// Listens at once; `respond` may be called before this returns. Blocks for the time of a few system
  /// calls: not to be called on a loop.
  ///
  /// - Parameters:
  ///   - answerWithin: how long `respond` may take; below the 10 s that probes usually wait.
  ///   - idle: a connection on which nothing moves is closed after this.
  public init(
    at addresses: [AdminAddress], answerWithin: Duration = .seconds(5), idle: Duration = .seconds(30),
    respond: @escaping AdminResponder
  ) throws(AdminServerError) {
    precondition(answerWithin < idle, "a connection must not be idle while its answer may still come")
    let desk = AdminDesk(answerWithin: answerWithin, idle: idle, respond: respond)
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    var opened = Opened()
    do throws(AdminServerError) {
      for address in addresses {
        try opened.open(address, on: group, desk: desk)
      }
    } catch {
      AdminInterface.shutDown(opened.listeners, opened.sockets, group)
      throw error
    }
    self.addresses = opened.addresses
    self.notes = opened.notes
    self.group = group
    self.listeners = opened.listeners
    self.sockets = opened.sockets
  }

  /// Closes the listeners and every connection, removes the socket files, ends the thread. Call once.
  public func stop() { AdminInterface.shutDown(listeners, sockets, group) }

  private static func shutDown(
    _ listeners: [any Channel], _ sockets: [AdminSocket], _ group: MultiThreadedEventLoopGroup
  ) {
    // A failure here means that a channel was closed already, which is what is wanted.
    for listener in listeners { try? listener.close().wait() }
    for socket in sockets { socket.removeFile() }
    try? group.syncShutdownGracefully()
  }
}

/// What has been opened so far, so that a failure at the third address can close the first two.
private struct Opened {
  var addresses: [AdminAddress] = []
  var notes: [String] = []
  var listeners: [any Channel] = []
  var sockets: [AdminSocket] = []

  mutating func open(
    _ address: AdminAddress, on group: MultiThreadedEventLoopGroup, desk: AdminDesk
  ) throws(AdminServerError) {
    let connections = ConnectionCount(max: AdminInterface.connectionsMax)
    let access: AdminConnection.Access
    if case .unix = address { access = .everything } else { access = .openOnly }
    let bootstrap = ServerBootstrap(group: group)
      .serverChannelOption(.backlog, value: 64)
      .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
      .childChannelInitializer { channel in
        connections.admit(channel) { channel in
          channel.addAdminHandlers(access: access, desk: desk)
        }
      }
    switch address {
    case .unix(let path):
      let socket = try AdminSocket(path: path)
      do {
        listeners.append(try bootstrap.withBoundSocket(socket.descriptor).wait())
      } catch {
        socket.removeFile()
        throw .cannotListen(address, reason: "\(error)")
      }
      sockets.append(socket)
      notes += socket.notes
      addresses.append(address)
    case .loopback(let host, let port):
      do {
        let listener = try bootstrap.bind(host: host, port: Int(port)).wait()
        listeners.append(listener)
        let bound = listener.localAddress?.port.flatMap(UInt16.init(exactly:)) ?? port
        addresses.append(.loopback(host: host, port: bound))
      } catch {
        throw .cannotListen(address, reason: "\(error)")
      }
    }
  }
}

extension Channel {
  fileprivate func addAdminHandlers(
    access: AdminConnection.Access, desk: AdminDesk
  ) -> EventLoopFuture<Void> {
    var limits = NIOHTTPDecoderLimitConfiguration()
    limits.maxHeaderListSize = AdminInterface.headerBytesMax
    limits.maxHeaderFieldSize = AdminInterface.headerBytesMax
    let idle = TimeAmount.nanoseconds(desk.idle.inNanoseconds)
    return pipeline.configureHTTPServerPipeline(withDecoderLimitConfiguration: limits).flatMapThrowing {
      let handlers = self.pipeline.syncOperations
      try handlers.addHandler(IdleStateHandler(allTimeout: idle), position: .first)
      try handlers.addHandler(AdminConnection(access: access, desk: desk))
    }
  }
}
