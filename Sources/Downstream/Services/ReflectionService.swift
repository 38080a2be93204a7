// gRPC server reflection: what this relay serves, for tools that have no .proto files at hand. Two packages of the
// protocol are in use, with the same messages.
// Source: grpc.reflection.v1.ServerReflection, grpc.reflection.v1alpha.ServerReflection.

import GRPC
import Protos
import SwiftProtobuf

/// One reflection stream: it remembers which files its client has.
struct ReflectionStream {
  static let paths = [
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
  ]

  private typealias Response = Grpc_Reflection_V1_ServerReflectionResponse

  private var sent: Set<String> = []

  mutating func answer(_ request: [UInt8]) throws(GRPCStatus) -> [UInt8] {
    let request = try decoded(request, as: Grpc_Reflection_V1_ServerReflectionRequest.self)
    var response = Response()
    response.validHost = request.host
    response.originalRequest = request
    response.messageResponse =
      switch request.messageRequest {
      case .fileByFilename(let name): files(name, "no such file")
      case .fileContainingSymbol(let symbol):
        files(ServiceCatalog.shared.file(of: symbol), "no such symbol")
      case .fileContainingExtension: ReflectionStream.notFound("no message here has extensions")
      case .allExtensionNumbersOfType(let type): ReflectionStream.extensions(of: type)
      case .listServices: ReflectionStream.services
      case nil: ReflectionStream.error(.invalidArgument, "the request asks for nothing")
      }
    return bytes(of: response)
  }

  /// The file and its imports, without those already sent on this stream.
  private mutating func files(_ name: String?, _ otherwise: String) -> Response.OneOf_MessageResponse {
    guard let name, let files = ServiceCatalog.shared.files(neededFor: name) else {
      return ReflectionStream.notFound(otherwise)
    }
    // The one that was asked for is an answer in any case.
    let missing = files.filter { $0.name == name || !sent.contains($0.name) }
    sent.formUnion(files.map(\.name))
    return .fileDescriptorResponse(.with { $0.fileDescriptorProto = missing.map(\.bytes) })
  }

  private static func extensions(of type: String) -> Response.OneOf_MessageResponse {
    guard ServiceCatalog.shared.file(of: type) != nil else { return notFound("no such message") }
    return .allExtensionNumbersResponse(.with { $0.baseTypeName = type })
  }

  private static var services: Response.OneOf_MessageResponse {
    .listServicesResponse(
      .with { response in
        response.service = ServiceTable.services.map { name in .with { $0.name = name } }
      })
  }

  private static func notFound(_ message: String) -> Response.OneOf_MessageResponse {
    error(.notFound, message)
  }

  private static func error(_ code: StatusCode, _ message: String) -> Response.OneOf_MessageResponse {
    .errorResponse(
      .with {
        $0.errorCode = Int32(truncatingIfNeeded: code.rawValue)
        $0.errorMessage = message
      })
  }
}
