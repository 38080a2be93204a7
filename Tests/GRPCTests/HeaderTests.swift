// Goal: requests are taken or refused exactly as gRPC over HTTP/2 says; statuses are written and mapped right.
// Method: tables.

import GRPC
import HTTP2
import Testing

func fields(_ list: (String, String)...) -> HeaderList {
  list.map { HeaderField(name: $0.0, value: $0.1) }
}

func requestFields(replacing name: String = "", by value: String? = nil, adding: HeaderList = [])
  -> HeaderList
{
  fields(
    (":method", "POST"), (":scheme", "https"), (":path", "/pkg.Service/Method"), (":authority", "relay:1"),
    ("te", "trailers"), ("content-type", "application/grpc"), ("user-agent", "grpc-go/1.60")
  ).compactMap { field in
    guard field.name == name else { return field }
    return value.map { HeaderField(name: name, value: $0) }
  } + adding
}

@Suite struct RequestHeadTests {
  @Test func allParts() throws {
    let head = try RequestHead(
      parsing: requestFields(
        adding: fields(
          ("grpc-timeout", "10S"), ("grpc-encoding", "gzip"), ("grpc-accept-encoding", "gzip"),
          ("clusterid", "Kubernetes"), ("trace-bin", "AAE"), ("clusterid", "again"))))
    #expect(head.path == "/pkg.Service/Method" && head.service == "pkg.Service" && head.method == "Method")
    #expect(head.authority == "relay:1" && head.userAgent == "grpc-go/1.60")
    #expect(
      head.timeout == .seconds(10) && head.encoding == "gzip" && head.compressedStatus == .unimplemented)
    #expect(
      head.metadata == fields(("clusterid", "Kubernetes"), ("trace-bin", "AAE"), ("clusterid", "again")))
  }

  @Test func least() throws {
    let head = try RequestHead(
      parsing: fields(
        (":method", "POST"), (":path", "/s/m"), ("content-type", "application/grpc+proto"), ("host", "h")))
    #expect(head.timeout == nil && head.encoding == nil && head.userAgent == nil && head.metadata.isEmpty)
    #expect(head.authority == "h" && head.compressedStatus == .internalError)
  }

  @Test(arguments: [
    ("application/grpc", true), ("application/grpc+proto", true), ("application/grpc+json", true),
    ("application/grpc;charset=utf-8", true), ("Application/GRPC", true), ("application/grpc-web", false),
    ("application/grpcx", false), ("application/json", false), ("", false), ("application/grp", false),
  ])
  func contentTypes(value: String, isTaken: Bool) {
    let result = Result { () throws(RequestRejection) in
      try RequestHead(parsing: requestFields(replacing: "content-type", by: value))
    }
    switch result {
    case .success: #expect(isTaken)
    case .failure(let rejection): #expect(!isTaken && rejection == .http(status: 415))
    }
  }

  @Test(
    arguments: [
      ("content-type", nil, .http(status: 415)), (":method", "GET", .http(status: 405)),
      (":method", "post", .http(status: 405)), (":method", nil, .http(status: 405)),
    ] as [(String, String?, RequestRejection)])
  func notGRPC(name: String, value: String?, rejection: RequestRejection) {
    #expect(throws: rejection) { try RequestHead(parsing: requestFields(replacing: name, by: value)) }
  }

  @Test func twoContentTypesAreNone() {
    let twice = requestFields(adding: fields(("content-type", "application/grpc")))
    #expect(throws: RequestRejection.http(status: 415)) { try RequestHead(parsing: twice) }
  }

  @Test(arguments: ["", "/", "//", "a/b", "/a", "/a/", "//b", "/a/b/", "/a/b/c", "*"])
  func malformedPaths(path: String) {
    #expect { try RequestHead(parsing: requestFields(replacing: ":path", by: path)) } throws: {
      guard case RequestRejection.call(let status) = $0 else { return false }
      return status.code == .unimplemented
    }
  }

  @Test func malformedTimeout() {
    #expect { try RequestHead(parsing: requestFields(adding: fields(("grpc-timeout", "1x")))) } throws: {
      guard case RequestRejection.call(let status) = $0 else { return false }
      return status.code == .internalError
    }
  }

  @Test func rejectionsAnswerInTheirOwnLanguage() {
    #expect(RequestRejection.http(status: 415).response == fields((":status", "415")))
    #expect(RequestRejection.http(status: 405).response == fields((":status", "405"), ("allow", "POST")))
    let call = RequestRejection.call(GRPCStatus(.unimplemented, "no")).response
    #expect(call[":status"] == "200" && call["grpc-status"] == "12" && call["grpc-message"] == "no")
  }

  @Test func ownRequestsAreTakenByOurServer() throws {
    let own = RequestHeaders.call(
      path: "/a.B/C", authority: "x:1", metadata: fields(("k", "v")), timeout: .seconds(3))
    let head = try RequestHead(parsing: own)
    #expect(head.path == "/a.B/C" && head.timeout == .seconds(3) && head.metadata == fields(("k", "v")))
    #expect(own["te"] == "trailers")
  }
}

@Suite struct StatusTests {
  @Test func numbersAreThoseOfTheWire() {
    #expect(StatusCode.allCases.map(\.rawValue) == Array(0...16))
    #expect(
      StatusCode.allCases.map(\.name).joined(separator: " ") == """
        OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS PERMISSION_DENIED \
        RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE \
        DATA_LOSS UNAUTHENTICATED
        """)
  }

  @Test func trailers() {
    #expect(ResponseHeaders.trailers(.ok) == fields(("grpc-status", "0")))
    #expect(
      ResponseHeaders.trailers(GRPCStatus(.permissionDenied, "no: 100%"))
        == fields(("grpc-status", "7"), ("grpc-message", "no: 100%25")))
    #expect(ResponseHeaders.accepted[":status"] == "200")
    #expect(ResponseHeaders.trailersOnly(.ok) == ResponseHeaders.accepted + fields(("grpc-status", "0")))
  }

  @Test(
    arguments: [
      (400, .internalError), (401, .unauthenticated), (403, .permissionDenied), (404, .unimplemented),
      (429, .unavailable), (431, .internalError), (502, .unavailable), (503, .unavailable),
      (504, .unavailable),
      (200, .unknown), (500, .unknown), (302, .unknown), (0, .unknown), (-1, .unknown),
    ] as [(Int, StatusCode)])
  func fromHTTP(status: Int, code: StatusCode) {
    #expect(GRPCStatus(httpStatus: status).code == code)
  }

  @Test(
    arguments: [
      (0, .internalError), (1, .internalError), (2, .internalError), (3, .internalError), (4, .internalError),
      (5, .unknown), (6, .internalError), (7, .unavailable), (8, .cancelled), (9, .internalError),
      (10, .internalError), (11, .resourceExhausted), (12, .permissionDenied), (13, .unknown),
      (.max, .unknown),
    ] as [(UInt32, StatusCode)])
  func fromReset(reset: UInt32, code: StatusCode) {
    #expect(GRPCStatus(resetCode: reset).code == code)
  }
}
