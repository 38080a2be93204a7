// A call that answers each request with one message: unary, or a stream of questions. One question is answered at
// a time, in order, and the next only when the client has taken enough of the answers before.

import GRPC
import Transport

final class QueryCall: CallHandler {
  typealias Reply = (Result<[UInt8], GRPCStatus>) -> Void

  /// Unit: bytes. Reason: what is asked here is a few names.
  static let requestBytesMost = 64 * 1024
  /// Questions waiting for their turn. When full: the call ends.
  private static let waitingMost = 16
  /// Unit: bytes of answers that the connection has not taken yet, beyond which questions wait.
  private static let queuedBytesMost = 64 * 1024

  private let call: Call
  private let isUnary: Bool
  private let answer: ([UInt8], @escaping Reply) -> Void
  private var waiting: [[UInt8]] = []
  private var asked = 0
  private var isAnswering = false
  private var isHalfClosed = false

  /// `answer` replies once, at once or later.
  init(_ call: Call, isUnary: Bool, answer: @escaping ([UInt8], @escaping Reply) -> Void) {
    self.call = call
    self.isUnary = isUnary
    self.answer = answer
    if !isUnary { call.accept() }
  }

  /// For answers that are known at once.
  convenience init(
    _ call: Call, isUnary: Bool, knows answer: @escaping ([UInt8]) throws(GRPCStatus) -> [UInt8]
  ) {
    self.init(call, isUnary: isUnary) { request, reply in
      do throws(GRPCStatus) { reply(.success(try answer(request))) } catch { reply(.failure(error)) }
    }
  }

  func call(_ call: Call, received message: [UInt8]) {
    asked += 1
    guard message.count <= QueryCall.requestBytesMost else {
      return call.finish(
        GRPCStatus(
          .resourceExhausted, "a request of this service has at most \(QueryCall.requestBytesMost) bytes"))
    }
    guard !isUnary || asked == 1 else {
      return call.finish(GRPCStatus(.invalidArgument, "this method takes one request"))
    }
    guard waiting.count < QueryCall.waitingMost else {
      return call.finish(GRPCStatus(.resourceExhausted, "too many requests wait for their answers"))
    }
    waiting.append(message)
    if !isUnary { answerNext() }
  }

  func callHalfClosed(_ call: Call) {
    isHalfClosed = true
    guard !isUnary || asked == 1 else {
      return call.finish(GRPCStatus(.invalidArgument, "this method takes one request"))
    }
    answerNext()
  }

  func callAccepted(_ call: Call) {}
  func callDrained(_ call: Call) { answerNext() }
  func callEnded(_ call: Call, _ status: GRPCStatus) { waiting = [] }

  private func answerNext() {
    guard call.isOpen, !isAnswering, call.unsentBytes < QueryCall.queuedBytesMost else { return }
    guard !waiting.isEmpty else {
      if isHalfClosed { call.finish(.ok) }
      return
    }
    isAnswering = true
    answer(waiting.removeFirst()) { [weak self] in self?.answered($0) }
  }

  private func answered(_ result: Result<[UInt8], GRPCStatus>) {
    isAnswering = false
    switch result {
    case .success(let message):
      call.send(head: message)
      answerNext()
    case .failure(let status): call.finish(status)
    }
  }
}
