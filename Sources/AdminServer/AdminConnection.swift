// One HTTP connection of the admin interface, from top to bottom: head → body → asked → answered.
//
// Lives on the admin event loop only. NIO's pipelining handler lets one request through at a time, so
// one state is enough. A reply may come from any thread, late, or never: the deadline answers then.

import Admin
import NIOCore
import NIOHTTP1
import NIOPosix
import Primitives

/// Who answers, and how long each side may take.
struct AdminDesk: Sendable {
  let answerWithin: Duration
  let idle: Duration
  let respond: AdminResponder
}

final class AdminConnection: ChannelInboundHandler {
  typealias InboundIn = HTTPServerRequestPart
  typealias OutboundOut = HTTPServerResponsePart

  /// What may be asked on this connection.
  enum Access: Sendable {
    case everything
    /// Requests that are `isOpen`.
    case openOnly
  }

  private enum State {
    case awaitingHead
    case receivingBody(HTTPRequestHead, ByteBuffer)
    /// `question` tells this question's reply from a late one.
    case awaitingReply(HTTPRequestHead, question: Int, deadline: Scheduled<Void>)
    /// A final answer was written; whatever else arrives is dropped.
    case closing
  }

  private let access: Access
  private let desk: AdminDesk
  private var state = State.awaitingHead
  private var questions = 0

  init(access: Access, desk: AdminDesk) {
    self.access = access
    self.desk = desk
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    switch (unwrapInboundIn(data), state) {
    case (.head(let head), .awaitingHead):
      state = .receivingBody(head, ByteBuffer())
    case (.body(var part), .receivingBody(let head, var body)):
      if body.readableBytes + part.readableBytes > AdminRequest.bodyBytesMost(target: head.uri) {
        refuse(context, head)
      } else {
        body.writeBuffer(&part)
        state = .receivingBody(head, body)
      }
    case (.end, .receivingBody(let head, let body)):
      received(context, head, Array(body.readableBytesView))
    case (_, .closing), (_, .awaitingHead), (_, .receivingBody), (_, .awaitingReply):
      break
    }
  }

  private func refuse(_ context: ChannelHandlerContext, _ head: HTTPRequestHead) {
    let reply = AdminReply.error(
      status: 413, "A request body may have at most \(AdminRequest.bodyBytesMost(target: head.uri)) bytes.")
    write(context, head, reply, thenClose: true)
  }

  private func received(_ context: ChannelHandlerContext, _ head: HTTPRequestHead, _ body: [UInt8]) {
    let request: AdminRequest
    do throws(AdminRequestError) {
      request = try AdminRequest(method: head.method.rawValue, target: head.uri, body: body)
    } catch {
      return write(context, head, .error(error), thenClose: !head.isKeepAlive)
    }
    guard access == .everything || request.isOpen else {
      let reply = AdminReply.error(status: 403, "This is answered on the Unix socket only.")
      return write(context, head, reply, thenClose: !head.isKeepAlive)
    }
    ask(context, head, request)
  }

  private func ask(_ context: ChannelHandlerContext, _ head: HTTPRequestHead, _ request: AdminRequest) {
    questions += 1
    let question = questions
    let eventLoop = context.eventLoop
    let here = NIOLoopBound((connection: self, context: context), eventLoop: eventLoop)
    let answer: @Sendable (AdminReply) -> Void = { reply in
      eventLoop.execute {
        let (connection, context) = here.value
        connection.answered(context, question, reply)
      }
    }
    let late = AdminReply.error(
      status: 503, "The relay did not answer within \(desk.answerWithin.inSeconds) s.")
    let deadline = eventLoop.scheduleTask(in: .nanoseconds(desk.answerWithin.inNanoseconds)) {
      answer(late)
    }
    state = .awaitingReply(head, question: question, deadline: deadline)
    desk.respond(request, answer)
  }

  private func answered(_ context: ChannelHandlerContext, _ question: Int, _ reply: AdminReply) {
    guard case .awaitingReply(let head, question, let deadline) = state else { return }
    deadline.cancel()
    write(context, head, reply, thenClose: !head.isKeepAlive)
  }

  private func write(
    _ context: ChannelHandlerContext, _ head: HTTPRequestHead, _ reply: AdminReply, thenClose: Bool
  ) {
    state = thenClose ? .closing : .awaitingHead
    let headers: HTTPHeaders = [
      "Content-Type": reply.contentType.rawValue,
      "Content-Length": String(reply.body.count),
      "Cache-Control": "no-store",
      "Connection": thenClose ? "close" : "keep-alive",
    ]
    let answer = HTTPResponseHead(
      version: head.version, status: HTTPResponseStatus(statusCode: reply.status), headers: headers)
    context.write(wrapOutboundOut(.head(answer)), promise: nil)
    let body = context.channel.allocator.buffer(bytes: reply.body)
    context.write(wrapOutboundOut(.body(.byteBuffer(body))), promise: nil)
    guard thenClose else {
      context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
      return
    }
    let here = NIOLoopBound(context, eventLoop: context.eventLoop)
    context.writeAndFlush(wrapOutboundOut(.end(nil))).whenComplete { _ in
      here.value.close(promise: nil)
    }
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if event is IdleStateHandler.IdleStateEvent {
      context.close(promise: nil)
    } else {
      context.fireUserInboundEventTriggered(event)
    }
  }

  func channelInactive(context: ChannelHandlerContext) {
    if case .awaitingReply(_, _, let deadline) = state { deadline.cancel() }
    state = .closing
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    context.close(promise: nil)
  }
}
