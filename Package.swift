// swift-tools-version: 6.2
//
// The rooms of meshrelay, lowest floor first. A target may import only what it lists here, and it
// lists only lower floors or a drawn sideways step (docs/ARCHITECTURE.md). TidyTests checks it.

import PackageDescription

/// One set of compiler settings for every room: language mode 6 is the tools version's own.
let house: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .strictMemorySafety(),
  .treatAllWarnings(as: .error),
]

/// For rooms whose objects are touched several times per I/O event. Each property access of a class checks
/// at run time that no other access to it is under way; that is most of what an event costs here, so release
/// builds of these rooms leave it out. Debug builds, tests and the simulator check it. Numbers:
/// docs/decisions/030-release-flags.md.
let perEvent: [SwiftSetting] =
  house + [.unsafeFlags(["-enforce-exclusivity=unchecked"], .when(configuration: .release))]

func room(
  _ name: String, _ imports: [Target.Dependency] = [], resources: [Resource] = [],
  settings: [SwiftSetting] = house
) -> Target {
  .target(name: name, dependencies: imports, resources: resources, swiftSettings: settings)
}

/// A program that measures: `Benchmarks/<name>`.
func benchmark(_ name: String, _ imports: [Target.Dependency]) -> Target {
  .executableTarget(
    name: name, dependencies: imports, path: "Benchmarks/" + name, swiftSettings: perEvent)
}

func tests(_ name: String, _ imports: [Target.Dependency], excluding files: [String] = []) -> Target {
  .testTarget(
    name: name + "Tests", dependencies: imports, path: "Tests/" + name + "Tests", exclude: files,
    swiftSettings: house)
}

/// A library that only tests import: `Tests/<name>`.
func support(_ name: String, _ imports: [Target.Dependency]) -> Target {
  .target(name: name, dependencies: imports, path: "Tests/" + name, swiftSettings: house)
}

let package = Package(
  name: "meshrelay",
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser.git", exact: "1.8.2"),
    .package(url: "https://github.com/apple/swift-nio.git", exact: "2.101.2"),
    .package(url: "https://github.com/apple/swift-log.git", exact: "1.16.2"),
    .package(url: "https://github.com/jpsim/Yams.git", exact: "6.2.2"),
    .package(url: "https://github.com/apple/swift-protobuf.git", exact: "1.39.0"),
    .package(url: "https://github.com/groue/GRDB.swift.git", exact: "7.10.0"),
  ],
  targets: [
    // 0 ground
    room("Primitives", settings: perEvent),
    .systemLibrary(name: "CNghttp2", pkgConfig: "libnghttp2", providers: [.apt(["libnghttp2-dev"])]),
    .systemLibrary(name: "COpenSSL", pkgConfig: "openssl", providers: [.apt(["libssl-dev"])]),
    .systemLibrary(name: "CSystemd", pkgConfig: "libsystemd"),
    .systemLibrary(name: "CLinux"),
    .systemLibrary(name: "CLiburing", pkgConfig: "liburing", providers: [.apt(["liburing-dev"])]),
    room("Metrics", ["Primitives"]),

    // 1 engines
    room("Digest", ["COpenSSL", "Primitives"]),
    room("TLS", ["COpenSSL", "Primitives"]),
    room("HTTP2", ["CNghttp2", "Primitives"]),
    room("GRPC", ["HTTP2"]),
    room("Documents", ["Primitives", .product(name: "Yams", package: "Yams")]),

    // 2 facts
    room("SPIFFE", ["Primitives"]),
    room("Trust", ["Digest", "Primitives", "SPIFFE", "TLS"]),
    room("Snapshots", ["Digest", "Primitives"]),
    // Generated code keeps its own style: no house settings.
    .target(name: "Protos", dependencies: [.product(name: "SwiftProtobuf", package: "swift-protobuf")]),
    room("Admin", ["Primitives"]),

    // 3 roles
    room(
      "Manifests",
      ["Documents", "Primitives", "Snapshots", .product(name: "SwiftProtobuf", package: "swift-protobuf")]),
    room("MCP", ["Primitives", "Snapshots"]),
    room("XDS", ["Primitives", "Snapshots"]),
    room("Policy", ["Documents", "Primitives", "SPIFFE", "Snapshots"]),
    room("Gates", ["Policy", "Primitives", "SPIFFE", "Snapshots"]),
    room("Audit", ["Digest", "Primitives", "SPIFFE"]),
    room("Ring", ["CLiburing", "CLinux", "Primitives"], settings: perEvent),

    // 4 meeting
    room("Transport", ["GRPC", "HTTP2", "Primitives", "Ring", "TLS"]),
    room("Configuration", ["Documents", "Policy", "Primitives", "SPIFFE"]),

    // 5 services
    room(
      "Upstream",
      [
        "GRPC", "MCP", "Metrics", "Primitives", "Ring", "SPIFFE", "Snapshots", "TLS", "Transport", "Trust",
        "XDS",
      ]),
    room(
      "Downstream",
      [
        "Audit", "GRPC", "Gates", "MCP", "Metrics", "Policy", "Primitives", "Protos", "Ring", "SPIFFE",
        "Snapshots",
        "TLS", "Transport", "Trust", "XDS", .product(name: "SwiftProtobuf", package: "swift-protobuf"),
      ]),
    room("Origins", ["CLinux", "Documents", "Manifests", "Primitives", "Ring", "Snapshots"]),
    room(
      "Identity",
      [
        "Digest", "GRPC", "HTTP2", "Primitives", "Protos", "Ring", "SPIFFE", "TLS", "Transport", "Trust",
        .product(name: "SwiftProtobuf", package: "swift-protobuf"),
      ]),
    room("Store", ["Gates", "Primitives", "Snapshots", .product(name: "GRDB", package: "GRDB.swift")]),
    room("Trail", ["Audit", "Primitives"]),
    room(
      "AdminServer",
      [
        "Admin", "Primitives", .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"), .product(name: "NIOHTTP1", package: "swift-nio"),
      ]),

    // 6 wiring
    room(
      "Tier",
      [
        "Admin", "Audit", "Configuration", "Documents", "Downstream", "Gates", "Identity", "MCP", "Manifests",
        "Metrics", "Origins", "Policy", "Primitives", "Ring", "SPIFFE", "Snapshots", "Store", "TLS", "Trail",
        "Transport", "Trust",
        "Upstream", "XDS",
      ]),
    room(
      "Console",
      [
        "Admin", "Audit", "CLinux", "Configuration", "Documents", "GRPC", "Gates", "Identity", "Manifests",
        "Origins", "Policy", "Primitives", "Ring", "SPIFFE", "Snapshots", "Store", "TLS", "Transport",
        "Trust", "XDS",
      ]),

    // 7 process
    room(
      "Relay",
      [
        "Admin", "AdminServer", "Audit", "CLinux", "CSystemd", "Configuration", "Documents", "Downstream",
        "Metrics", "Policy", "Primitives", "Ring", "Store", "TLS", "Tier", "Trail",
        .product(name: "Logging", package: "swift-log"),
      ]),

    // 8 program
    .executableTarget(
      name: "meshrelay",
      dependencies: [
        "Admin", "Console", "Relay", "Ring",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ], swiftSettings: house),

    benchmark("RingEcho", ["Primitives", "Ring"]),

    tests("Primitives", ["Primitives"]),
    tests("Snapshots", ["Digest", "Primitives", "Snapshots"]),
    tests(
      "XDS",
      [
        "Primitives", "Protos", "Snapshots", "XDS",
        .product(name: "SwiftProtobuf", package: "swift-protobuf"),
      ],
      excluding: ["Conversations"]),
    tests(
      "MCP",
      [
        "MCP", "Primitives", "Protos", "Snapshots",
        .product(name: "SwiftProtobuf", package: "swift-protobuf"),
      ],
      excluding: ["Conversations", "SinkConversations"]),
    tests("Audit", ["Audit", "Digest", "Primitives", "SPIFFE", "TLS", "TestCertificates"]),
    tests("Trail", ["Audit", "Primitives", "TLS", "TestCertificates", "Trail"]),
    tests("Gates", ["Gates", "Policy", "Primitives", "SPIFFE", "Snapshots"]),
    tests("Configuration", ["Configuration", "Documents", "Policy", "Primitives", "SPIFFE"]),
    tests("Policy", ["Documents", "Policy", "Primitives", "SPIFFE", "Snapshots"]),
    support("TestCertificates", ["COpenSSL", "Primitives"]),
    tests("Digest", ["Digest", "Primitives"]),
    tests("TLS", ["COpenSSL", "Digest", "Primitives", "TLS", "TestCertificates"]),
    tests("HTTP2", ["HTTP2", "Primitives"]),
    tests("GRPC", ["GRPC", "HTTP2", "Primitives"]),
    tests("SPIFFE", ["Primitives", "SPIFFE"]),
    tests("Trust", ["Primitives", "SPIFFE", "TLS", "TestCertificates", "Trust"], excluding: ["Vectors"]),
    tests(
      "Store",
      ["Gates", "Policy", "Primitives", "Snapshots", "Store", .product(name: "GRDB", package: "GRDB.swift")]),
    tests(
      "Identity",
      [
        "COpenSSL", "GRPC", "HTTP2", "Identity", "Primitives", "Protos", "Ring", "SPIFFE", "TLS",
        "TestCertificates",
        "Transport", "Trust", .product(name: "SwiftProtobuf", package: "swift-protobuf"),
      ]),
    tests("Documents", ["Documents", "Primitives"]),
    tests("Manifests", ["Documents", "Manifests", "Primitives", "Snapshots"]),
    tests("Origins", ["Manifests", "Origins", "Primitives", "Ring", "Snapshots"]),
    tests("Tidy", []),
    tests("Admin", ["Admin", "Primitives"]),
    tests("AdminServer", ["Admin", "AdminServer"]),
    tests(
      "Console",
      [
        "Admin", "AdminServer", "Audit", "Console", "Primitives", "SPIFFE", "TestCertificates", "Trust",
      ]),
    tests(
      "Tier",
      [
        "Admin", "Audit", "Configuration", "Documents", "Downstream", "Gates", "Identity", "Policy",
        "Primitives", "Ring", "SPIFFE",
        "Snapshots", "TLS", "TestCertificates", "Tier", "Trail", "Transport", "Trust", "XDS",
      ]),
    tests(
      "Relay", ["Audit", "Primitives", "Relay", "SPIFFE", .product(name: "Logging", package: "swift-log")]),
    tests("Metrics", ["Metrics", "Primitives"]),
    tests("Ring", ["Primitives", "Ring"]),
    tests(
      "Downstream",
      [
        "Audit", "Downstream", "GRPC", "Gates", "MCP", "Metrics", "Policy", "Primitives", "Protos", "Ring",
        "SPIFFE",
        "Snapshots", "TLS", "TestCertificates", "Transport", "Trust", "XDS",
        .product(name: "SwiftProtobuf", package: "swift-protobuf"),
      ]),
    tests(
      "Upstream",
      [
        "GRPC", "MCP", "Primitives", "Ring", "SPIFFE", "Snapshots", "TLS", "TestCertificates", "Transport",
        "Trust", "Upstream", "XDS",
      ]),
    tests("Transport", ["GRPC", "HTTP2", "Primitives", "Ring", "TLS", "TestCertificates", "Transport"]),
    support(
      "Simulator",
      [
        "Admin", "Audit", "Downstream", "GRPC", "Gates", "MCP", "Metrics", "Policy", "Primitives", "Protos",
        "Ring",
        "SPIFFE",
        "Snapshots", "TLS", "TestCertificates", "Tier", "Trail", "Transport", "Trust", "XDS",
        .product(name: "SwiftProtobuf", package: "swift-protobuf"),
      ]),
    tests("Simulation", ["Simulator"]),
  ]
)
