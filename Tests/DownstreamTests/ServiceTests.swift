// Goal: health, reflection and client status answer what their protocols say, to those who may ask, and stand any
// request. Method: one serve loop and staged clients on a simulated network; generated messages.

import Downstream
import FoundationEssentials
import GRPC
import Primitives
import Protos
import Ring
import Snapshots
import SwiftProtobuf
import Testing

@Suite struct ServiceTests {
  private static let health = "/grpc.health.v1.Health/"
  private static let reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
  private static let status = "/envoy.service.status.v3.ClientStatusDiscoveryService/"
  private static let everyPath = [
    health + "Check", health + "List", health + "Watch", reflection,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", status + "FetchClientStatus",
    status + "StreamClientStatus",
  ]

  private func stage() throws -> Stage {
    let stage = try Stage(try rules(["a": "foo", "b": "bar"]))
    stage.publish([try resource("foo", "x"), try resource("bar", "y")])
    return stage
  }

  private func ready(_ stage: Stage, _ name: String = "a", dialect: StagedDialect = .delta) throws
    -> StagedClient
  {
    let client = try stage.client(name, dialect: dialect)
    #expect(stage.run { client.responses == 1 })
    // Its acknowledgement has arrived.
    stage.network.run(for: .seconds(1))
    return client
  }

  private func bytes(_ message: some SwiftProtobuf.Message) throws -> [UInt8] {
    try message.serializedBytes()
  }

  // MARK: health

  private func healthRequest(_ service: String) throws -> [UInt8] {
    try bytes(Grpc_Health_V1_HealthCheckRequest.with { $0.service = service })
  }

  @Test func checkSaysWhatReadyzSays() throws {
    let stage = try stage()
    let a = try ready(stage)
    let adsName = "envoy.service.discovery.v3.AggregatedDiscoveryService"
    for (isReady, service) in [(false, ""), (true, ""), (true, adsName), (false, adsName)] {
      stage.publish(isReady: isReady)
      let call = StagedCall(ServiceTests.health + "Check", on: a, [try healthRequest(service)])
      #expect(stage.run { call.status != nil })
      #expect(call.status == .ok)
      let answer = try Grpc_Health_V1_HealthCheckResponse(serializedBytes: try #require(call.messages.first))
      #expect(answer.status == (isReady ? .serving : .notServing))
    }
    let unknown = StagedCall(ServiceTests.health + "Check", on: a, [try healthRequest("no.Such")])
    #expect(stage.run { unknown.status != nil })
    #expect(unknown.status?.code == .notFound)
  }

  @Test func listNamesEveryService() throws {
    let stage = try stage()
    stage.publish(isReady: true)
    let a = try ready(stage)
    let call = StagedCall(ServiceTests.health + "List", on: a, [[]])
    #expect(stage.run { call.status == .ok })
    let answer = try Grpc_Health_V1_HealthListResponse(serializedBytes: try #require(call.messages.first))
    #expect(answer.statuses.count == 8 && answer.statuses.values.allSatisfy { $0.status == .serving })
    #expect(answer.statuses[""] != nil && answer.statuses["grpc.health.v1.Health"] != nil)
  }

  @Test func watchIsToldOfEveryChangeAndOfTheDrain() throws {
    let stage = try stage()
    let a = try ready(stage)
    let whole = StagedCall(ServiceTests.health + "Watch", on: a, [try healthRequest("")])
    let unknown = StagedCall(ServiceTests.health + "Watch", on: a, [try healthRequest("no.Such")])
    func told(_ call: StagedCall) -> [Grpc_Health_V1_HealthCheckResponse.ServingStatus] {
      call.messages.compactMap { try? Grpc_Health_V1_HealthCheckResponse(serializedBytes: $0).status }
    }
    #expect(stage.run { told(whole) == [.notServing] && told(unknown) == [.serviceUnknown] })
    stage.publish(isReady: true)
    #expect(stage.run { told(whole) == [.notServing, .serving] })
    stage.publish(isReady: true)
    stage.network.run(for: .seconds(2))
    #expect(told(whole).count == 2 && told(unknown).count == 1 && unknown.status == nil)
    stage.serving.handle(.drain(.seconds(5)))
    #expect(stage.run { told(whole) == [.notServing, .serving, .notServing] })
    // Whatever readiness says of the rest: this relay goes away.
    stage.loop.waker()
    #expect(stage.run { whole.status?.code == .unavailable })
    #expect(told(whole).count == 3)
  }

  // MARK: reflection

  private typealias Question = Grpc_Reflection_V1_ServerReflectionRequest
  private typealias Answer = Grpc_Reflection_V1_ServerReflectionResponse

  @Test(arguments: ["v1", "v1alpha"]) func reflectionListsAndDescribesWhatIsServed(_ package: String) throws {
    let stage = try stage()
    let a = try ready(stage)
    let call = StagedCall(
      "/grpc.reflection.\(package).ServerReflection/ServerReflectionInfo", on: a,
      [try bytes(Question.with { $0.listServices = "" })], ends: false)
    #expect(stage.run { call.messages.count == 1 })
    let services = try Answer(serializedBytes: call.messages[0]).listServicesResponse.service.map(\.name)
    #expect(services.count == 7 && services == services.sorted())
    for service in services {
      let before = call.messages.count
      call.send(try bytes(Question.with { $0.fileContainingSymbol = service }))
      #expect(stage.run { call.messages.count == before + 1 })
      let files = try Answer(serializedBytes: call.messages[before]).fileDescriptorResponse
        .fileDescriptorProto
        .map { try Google_Protobuf_FileDescriptorProto(serializedBytes: Array($0)) }
      let declared = files.flatMap { file in file.service.map { "\(file.package).\($0.name)" } }
      #expect(declared.contains(service), "\(service) in \(files.map(\.name))")
    }
    call.end()
    #expect(stage.run { call.status == .ok })
  }

  @Test func importsComeOnceAndBeforeWhoeverNeedsThem() throws {
    let stage = try stage()
    let a = try ready(stage)
    let name = "envoy/service/status/v3/csds.proto"
    let question = try bytes(Question.with { $0.fileByFilename = name })
    let call = StagedCall(ServiceTests.reflection, on: a, [question, question])
    #expect(stage.run { call.status == .ok })
    let files = try call.messages.map { message in
      try Answer(serializedBytes: message).fileDescriptorResponse.fileDescriptorProto.map {
        try Google_Protobuf_FileDescriptorProto(serializedBytes: Array($0))
      }
    }
    #expect(files.count == 2 && files[1].map(\.name) == [name])
    var known: Set<String> = []
    for file in files[0] {
      #expect(known.isSuperset(of: file.dependency), "\(file.name)")
      known.insert(file.name)
    }
    #expect(files[0].last?.name == name)
  }

  @Test func whatReflectionCannotFindIsAnAnswerToo() throws {
    let stage = try stage()
    let a = try ready(stage)
    let questions: [Question] = [
      .with { $0.fileByFilename = "no.proto" }, .with { $0.fileContainingSymbol = "no.Such" },
      .with { $0.fileContainingExtension.containingType = "no.Such" },
      .with { $0.allExtensionNumbersOfType = "no.Such" }, .with { $0.host = "somebody" },
      .with { $0.allExtensionNumbersOfType = "istio.mcp.v1alpha1.Resource" },
    ]
    let call = StagedCall(ServiceTests.reflection, on: a, try questions.map { try bytes($0) })
    #expect(stage.run { call.status == .ok })
    let answers = try call.messages.map { try Answer(serializedBytes: $0) }
    #expect(answers.prefix(5).map(\.errorResponse.errorCode) == [5, 5, 5, 5, 3])
    #expect(answers.map(\.originalRequest) == questions)
    #expect(answers[4].validHost == "somebody")
    #expect(answers[5].allExtensionNumbersResponse.baseTypeName == "istio.mcp.v1alpha1.Resource")
  }

  // MARK: client status

  private typealias StatusRequest = Envoy_Service_Status_V3_ClientStatusRequest
  private typealias StatusResponse = Envoy_Service_Status_V3_ClientStatusResponse

  private func configs(
    _ stage: Stage, _ client: StagedClient, _ request: Envoy_Service_Status_V3_ClientStatusRequest = .init()
  ) throws -> [Envoy_Service_Status_V3_ClientConfig] {
    let call = StagedCall(ServiceTests.status + "FetchClientStatus", on: client, [try bytes(request)])
    #expect(
      stage.run {
        stage.answerStreamQuestions()
        return call.status != nil
      })
    #expect(call.status == .ok)
    return try StatusResponse(serializedBytes: try #require(call.messages.first)).config
  }

  @Test(arguments: StagedDialect.allCases) func aCallerSeesHowItsOwnStreamsStand(_ dialect: StagedDialect)
    throws
  {
    let stage = try stage()
    let (a, other) = (try ready(stage, "a", dialect: dialect), try ready(stage, "b", dialect: dialect))
    let own = try configs(stage, a)
    #expect(own.count == 1)
    #expect(own[0].clientScope == dialect.names.status)
    let entries = own[0].genericXdsConfigs
    #expect(entries.map(\.name) == ["*", "foo/x"])
    #expect(entries.allSatisfy { $0.typeURL == dialect.typeName && $0.configStatus == .synced })
    #expect(entries.allSatisfy { $0.clientStatus == .acked && !$0.versionInfo.isEmpty })
    #expect(try configs(stage, other).flatMap { $0.genericXdsConfigs.map(\.name) } == ["*", "bar/y"])

    a.refusal = "not this one"
    stage.publish([try resource("foo", "x"), try resource("foo", "z"), try resource("bar", "y")])
    #expect(stage.run { a.responses == 2 })
    stage.network.run(for: .seconds(1))
    let after = try #require(try configs(stage, a).first).genericXdsConfigs
    #expect(after.map(\.name) == ["*", "foo/x", "foo/z"])
    #expect(after.map(\.configStatus) == [.error, .synced, .error])
    #expect(after.map(\.clientStatus) == [.nacked, .acked, .nacked])
    #expect(after[0].errorState.details == "not this one")

    a.refusal = nil
    a.acknowledges = false
    stage.publish([try resource("foo", "x"), try resource("foo", "w"), try resource("bar", "y")])
    #expect(stage.run { a.responses == 3 })
    let waiting = try #require(try configs(stage, a).first).genericXdsConfigs
    #expect(waiting.map(\.name) == ["*", "foo/w", "foo/x"])
    #expect(waiting.map(\.configStatus) == [.stale, .stale, .synced])
  }

  @Test func whatIsNotAnsweredYetIsNotSent() throws {
    let stage = try Stage(try rules(["a": "foo"]))
    let a = try stage.client("a")
    #expect(stage.run { a.connection != nil })
    stage.network.run(for: .seconds(1))
    let entries = try #require(try configs(stage, a).first).genericXdsConfigs
    #expect(entries.map(\.configStatus) == [.notSent] && entries.map(\.clientStatus) == [.requested])
  }

  @Test func clientsArePickedByWhatTheyCallThemselves() throws {
    let stage = try stage()
    let a = try ready(stage)
    a.send(a.requestNaming("Sidecar~1"))
    stage.network.run(for: .seconds(1))
    func count(_ make: (inout Envoy_Type_Matcher_V3_StringMatcher) -> Void) throws -> Int {
      try configs(
        stage, a,
        .with { request in
          request.nodeMatchers = [.with { matcher in make(&matcher.nodeID) }]
        }
      ).count
    }
    #expect(try count { $0.exact = "Sidecar~1" } == 1)
    #expect(try count { $0.exact = "sidecar~1" } == 0)
    #expect(try count { ($0.exact, $0.ignoreCase) = ("sidecar~1", true) } == 1)
    #expect(try count { $0.prefix = "Side" } == 1)
    #expect(try count { $0.suffix = "~2" } == 0)
    #expect(try count { $0.contains = "car~" } == 1)
  }

  @Test func clientsArePickedByWhatElseTheySayOfThemselves() throws {
    let stage = try stage()
    let a = try ready(stage)
    let metadata: Google_Protobuf_Struct = [
      "GENERATOR": "api", "weight": 2.5, "canary": true, "nothing": nil,
      "where": Google_Protobuf_Value(
        structValue: ["zone": "eu-1", "racks": Google_Protobuf_Value(listValue: ["r1", 7])]),
    ]
    a.send(a.requestNaming("Sidecar~1", metadata))
    stage.network.run(for: .seconds(1))
    func picks(_ path: [String], _ make: (inout Envoy_Type_Matcher_V3_ValueMatcher) -> Void) throws -> Bool {
      try configs(stage, a, .with { $0.nodeMatchers = [.with { $0.nodeMetadatas = [matcher(path, make)] }] })
        .count == 1
    }
    #expect(try picks(["GENERATOR"]) { $0.stringMatch.prefix = "a" })
    #expect(try !picks(["GENERATOR"]) { $0.stringMatch.exact = "API" })
    #expect(try picks(["GENERATOR"]) { ($0.stringMatch.exact, $0.stringMatch.ignoreCase) = ("API", true) })
    #expect(try picks(["where", "zone"]) { $0.stringMatch.suffix = "-1" })
    #expect(try !picks(["where", "zone", "deeper"]) { $0.stringMatch.suffix = "-1" })
    #expect(try picks(["where", "racks"]) { $0.listMatch.oneOf.doubleMatch.exact = 7 })
    #expect(try !picks(["where", "racks"]) { $0.listMatch.oneOf.stringMatch.exact = "7" })
    #expect(try picks(["weight"]) { ($0.doubleMatch.range.start, $0.doubleMatch.range.end) = (2.5, 3) })
    #expect(try !picks(["weight"]) { ($0.doubleMatch.range.start, $0.doubleMatch.range.end) = (2, 2.5) })
    #expect(try picks(["canary"]) { $0.boolMatch = true })
    #expect(try !picks(["canary"]) { $0.boolMatch = false })
    #expect(try picks(["nothing"]) { $0.nullMatch = .init() })
    #expect(try !picks(["absent"]) { $0.nullMatch = .init() })
    #expect(try picks(["absent"]) { $0.presentMatch = false })
    #expect(try !picks(["absent"]) { $0.presentMatch = true })
    #expect(
      try picks(["weight"]) {
        $0.orMatch.valueMatchers = [.with { $0.boolMatch = true }, .with { $0.doubleMatch.exact = 2.5 }]
      })
    // Within one matcher everything must hold, and of several one will do.
    let (yes, no) = (
      matcher(["canary"]) { $0.boolMatch = true }, matcher(["canary"]) { $0.boolMatch = false }
    )
    #expect(
      try configs(stage, a, .with { $0.nodeMatchers = [.with { $0.nodeMetadatas = [yes, no] }] }).isEmpty)
    let either: [Envoy_Type_Matcher_V3_NodeMatcher] = [
      .with { $0.nodeMetadatas = [no] }, .with { $0.nodeMetadatas = [yes] },
    ]
    #expect(try configs(stage, a, .with { $0.nodeMatchers = either }).count == 1)
    let other: Envoy_Type_Matcher_V3_NodeMatcher = .with {
      ($0.nodeID.exact, $0.nodeMetadatas) = ("Sidecar~2", [yes])
    }
    #expect(try configs(stage, a, .with { $0.nodeMatchers = [other] }).isEmpty)
  }

  private func matcher(
    _ path: [String], _ make: (inout Envoy_Type_Matcher_V3_ValueMatcher) -> Void
  ) -> Envoy_Type_Matcher_V3_StructMatcher {
    .with { matcher in
      matcher.path = path.map { key in .with { $0.key = key } }
      make(&matcher.value)
    }
  }

  @Test func matchersThatCannotBeJudgedAreErrors() throws {
    let stage = try stage()
    let a = try ready(stage)
    func code(_ matchers: [Envoy_Type_Matcher_V3_NodeMatcher]) throws -> StatusCode? {
      let request: StatusRequest = .with { $0.nodeMatchers = matchers }
      let call = StagedCall(ServiceTests.status + "FetchClientStatus", on: a, [try bytes(request)])
      #expect(stage.run { call.status != nil })
      return call.status?.code
    }
    func alone(_ condition: Envoy_Type_Matcher_V3_StructMatcher) -> [Envoy_Type_Matcher_V3_NodeMatcher] {
      [.with { $0.nodeMetadatas = [condition] }]
    }
    #expect(try code([.with { $0.nodeID.safeRegex.regex = "a+" }]) == .invalidArgument)
    #expect(try code(alone(matcher(["a"]) { $0.stringMatch.safeRegex.regex = "a+" })) == .invalidArgument)
    #expect(try code(alone(matcher([]) { $0.boolMatch = true })) == .invalidArgument)
    #expect(try code(alone(matcher(["a"]) { _ in })) == .invalidArgument)
    #expect(try code(alone(.with { $0.path = [.with { $0.key = "a" }] })) == .invalidArgument)
    #expect(try code(alone(.with { ($0.path, $0.value.boolMatch) = ([.init()], true) })) == .invalidArgument)
    #expect(try code(alone(matcher(["a"]) { $0.listMatch = .init() })) == .invalidArgument)
    #expect(try code(.init(repeating: .with { $0.nodeID.exact = "x" }, count: 257)) == .resourceExhausted)
  }

  @Test func longAnswersArePacedAndEndlessOnesAreCut() throws {
    let stage = try stage()
    stage.publish(try (0..<1_001).map { try resource("foo", "r\($0)") })
    let a = try ready(stage)
    for _ in 0..<3 {
      #expect(try configs(stage, a).first?.genericXdsConfigs.count == 1_002)
    }
    let call = StagedCall(ServiceTests.status + "FetchClientStatus", on: a, [[]])
    #expect(stage.run { call.status != nil })
    #expect(call.status?.code == .resourceExhausted)
    stage.network.run(for: .seconds(11))
    #expect(try configs(stage, a).first?.genericXdsConfigs.count == 1_002)
    stage.network.run(for: .seconds(11))
    stage.publish(try (0..<20_001).map { try resource("foo", "r\($0)") })
    #expect(stage.run { a.responses == 2 })
    #expect(try configs(stage, a).first?.genericXdsConfigs.map(\.name) == ["*"])
  }

  @Test func theStreamAnswersEachRequestInFull() throws {
    let stage = try stage()
    let a = try ready(stage)
    let call = StagedCall(ServiceTests.status + "StreamClientStatus", on: a, [[], []], ends: false)
    #expect(
      stage.run {
        stage.answerStreamQuestions()
        return call.messages.count == 2
      })
    #expect(call.messages[0] == call.messages[1] && call.status == nil)
  }

  // MARK: all of them

  @Test(arguments: everyPath) func strangersAreRefusedEverywhere(_ path: String) throws {
    let stage = try stage()
    let stranger = try stage.client("nobody")
    #expect(stage.run { stranger.connection != nil })
    let call = StagedCall(path, on: stranger, [[]])
    #expect(stage.run { call.status != nil })
    #expect(call.status?.code == .permissionDenied && call.messages.isEmpty)
  }

  @Test(arguments: everyPath) func bytesThatAreNoRequestEndTheCallOnly(_ path: String) throws {
    let stage = try stage()
    let a = try ready(stage)
    let call = StagedCall(path, on: a, [[0x0A, 0x7F, 0x00]])
    #expect(stage.run { call.status != nil })
    #expect(call.status?.code == .internalError)
    let long = StagedCall(path, on: a, [[UInt8](repeating: 0, count: 70_000)])
    #expect(stage.run { long.status != nil })
    #expect([.resourceExhausted, .internalError].contains(long.status?.code))
    #expect(a.status == nil && !a.isClosed)
  }

  @Test(arguments: ["Check", "List"]) func unaryMethodsTakeOneRequest(_ method: String) throws {
    let stage = try stage()
    let a = try ready(stage)
    for requests in [[], [[], []]] as [[[UInt8]]] {
      let call = StagedCall(ServiceTests.health + method, on: a, requests)
      #expect(stage.run { call.status != nil })
      #expect(call.status?.code == .invalidArgument)
    }
  }

  @Test func whoAsksWithoutReadingIsStopped() throws {
    let stage = try stage()
    let a = try ready(stage)
    // Nothing answers the questions of this stage, so they pile up.
    let call = StagedCall(
      ServiceTests.status + "StreamClientStatus", on: a, [[UInt8]](repeating: [], count: 100), ends: false)
    #expect(stage.run { call.status != nil })
    #expect(call.status?.code == .resourceExhausted)
    #expect(a.status == nil)
  }
}
