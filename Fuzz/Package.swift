// swift-tools-version: 6.2
//
// Fuzz targets, in a package of their own: they are built with the fuzzer's instrumentation, which the
// program must never be. `Rooms` is a link to ../Sources; the rooms keep their own imports (../Package.swift).

import PackageDescription

let house: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .strictMemorySafety(),
]

let protobuf = Target.Dependency.product(name: "SwiftProtobuf", package: "swift-protobuf")

func room(_ name: String, _ imports: [Target.Dependency] = []) -> Target {
  .target(name: name, dependencies: imports, path: "Rooms/" + name, swiftSettings: house)
}

func fuzzer(_ name: String, _ imports: [Target.Dependency]) -> Target {
  .executableTarget(
    name: "Fuzz" + name, dependencies: imports, path: name, exclude: ["corpus", "crashes"],
    swiftSettings: house + [.unsafeFlags(["-parse-as-library"])])
}

let package = Package(
  name: "Fuzz",
  dependencies: [
    .package(url: "https://github.com/jpsim/Yams.git", exact: "6.2.2"),
    .package(url: "https://github.com/apple/swift-protobuf.git", exact: "1.39.0"),
  ],
  targets: [
    room("Primitives"),
    .systemLibrary(name: "CNghttp2", path: "Rooms/CNghttp2", pkgConfig: "libnghttp2"),
    .systemLibrary(name: "COpenSSL", path: "Rooms/COpenSSL", pkgConfig: "openssl"),
    room("Digest", ["COpenSSL", "Primitives"]),
    room("HTTP2", ["CNghttp2", "Primitives"]),
    room("GRPC", ["HTTP2", "Primitives"]),
    room("Documents", ["Primitives", .product(name: "Yams", package: "Yams")]),
    room("SPIFFE", ["Primitives"]),
    room("Snapshots", ["Digest", "Primitives"]),
    room("Policy", ["Documents", "Primitives", "SPIFFE", "Snapshots"]),
    room("XDS", ["Primitives", "Snapshots"]),
    room("MCP", ["Primitives", "Snapshots"]),
    // The serving side with everything below it: its small services read messages of clients.
    .systemLibrary(name: "CLinux", path: "Rooms/CLinux"),
    .systemLibrary(name: "CLiburing", path: "Rooms/CLiburing", pkgConfig: "liburing"),
    .target(name: "Protos", dependencies: [protobuf], path: "Rooms/Protos"),
    room("Metrics", ["Primitives"]),
    room("TLS", ["COpenSSL", "Primitives"]),
    room("Trust", ["Digest", "Primitives", "SPIFFE", "TLS"]),
    room("Gates", ["Policy", "Primitives", "SPIFFE", "Snapshots"]),
    room("Audit", ["Digest", "Primitives", "SPIFFE"]),
    room("Ring", ["CLiburing", "CLinux", "Primitives"]),
    room("Transport", ["GRPC", "HTTP2", "Primitives", "Ring", "TLS"]),
    room(
      "Downstream",
      [
        "Audit", "GRPC", "Gates", "MCP", "Metrics", "Policy", "Primitives", "Protos", "Ring", "SPIFFE",
        "Snapshots", "TLS", "Transport", "Trust", "XDS", protobuf,
      ]),

    fuzzer("Archive", ["Digest", "Primitives", "Snapshots"]),
    fuzzer("HTTP2", ["GRPC", "HTTP2", "Primitives"]),
    fuzzer("MCP", ["MCP", "Primitives", "Snapshots"]),
    fuzzer("Services", ["Downstream", "GRPC", "Snapshots"]),
    fuzzer("XDS", ["Primitives", "Snapshots", "XDS"]),
    fuzzer("MCPSink", ["MCP", "Primitives", "Snapshots"]),
    fuzzer("Policy", ["Documents", "Policy", "Primitives"]),
  ]
)
