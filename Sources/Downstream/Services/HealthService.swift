// gRPC's health protocol: the answer of `/readyz`, for load balancers and clients that ask over gRPC. Every
// service of this relay is as healthy as the relay.
// Source: grpc.health.v1.Health.

import GRPC
import Protos
import SwiftProtobuf
import Transport

enum HealthMethod: String, CaseIterable {
  case check = "/grpc.health.v1.Health/Check"
  case list = "/grpc.health.v1.Health/List"
  case watch = "/grpc.health.v1.Health/Watch"
}

enum HealthService {
  typealias Status = Grpc_Health_V1_HealthCheckResponse.ServingStatus

  /// The name a client means by a `HealthCheckRequest`; empty: the whole server.
  static func service(in request: [UInt8]) throws(GRPCStatus) -> String {
    try decoded(request, as: Grpc_Health_V1_HealthCheckRequest.self).service
  }

  /// Nil: there is no such service.
  static func status(of service: String, isReady: Bool) -> Status? {
    guard service.isEmpty || ServiceTable.services.contains(service) else { return nil }
    return isReady ? .serving : .notServing
  }

  static func check(_ request: [UInt8], isReady: Bool) throws(GRPCStatus) -> [UInt8] {
    guard let status = status(of: try service(in: request), isReady: isReady) else {
      throw GRPCStatus(.notFound, "this server has no such service")
    }
    return encoded(status)
  }

  static func list(_ request: [UInt8], isReady: Bool) throws(GRPCStatus) -> [UInt8] {
    _ = try decoded(request, as: Grpc_Health_V1_HealthListRequest.self)
    var response = Grpc_Health_V1_HealthListResponse()
    for service in [""] + ServiceTable.services {
      response.statuses[service] = .with { $0.status = isReady ? .serving : .notServing }
    }
    return bytes(of: response)
  }

  static func encoded(_ status: Status) -> [UInt8] {
    bytes(of: Grpc_Health_V1_HealthCheckResponse.with { $0.status = status })
  }
}

/// `Watch`: the status now, and each change of it. A client that reads slowly skips to the newest.
final class HealthWatch: CallHandler {
  private static let queuedBytesMost = 1024

  private let call: Call
  private weak var client: Client?
  private var isReady: Bool
  /// Nil until the client has said it.
  private var service: String?
  private var lastSent: HealthService.Status?

  init(_ call: Call, client: Client, isReady: Bool) {
    self.call = call
    self.client = client
    self.isReady = isReady
    call.accept()
  }

  func update(isReady: Bool) {
    self.isReady = isReady
    tell()
  }

  private func tell() {
    guard let service, call.isOpen, call.unsentBytes < HealthWatch.queuedBytesMost else { return }
    let status = HealthService.status(of: service, isReady: isReady) ?? .serviceUnknown
    guard status != lastSent else { return }
    lastSent = status
    call.send(head: HealthService.encoded(status))
  }

  func call(_ call: Call, received message: [UInt8]) {
    guard service == nil else {
      return call.finish(GRPCStatus(.invalidArgument, "this method takes one request"))
    }
    do throws(GRPCStatus) {
      service = try HealthService.service(in: message)
      tell()
    } catch {
      call.finish(error)
    }
  }

  func callHalfClosed(_ call: Call) {
    if service == nil { call.finish(GRPCStatus(.invalidArgument, "this method takes one request")) }
  }

  func callAccepted(_ call: Call) {}
  func callDrained(_ call: Call) { tell() }
  func callEnded(_ call: Call, _ status: GRPCStatus) { client?.ended(self) }
}
