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
  dependencies: [.package(url: "https://github.com/jpsim/Yams.git", exact: "6.2.2")],
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

    fuzzer("HTTP2", ["GRPC", "HTTP2", "Primitives"]),
    fuzzer("XDS", ["Primitives", "Snapshots", "XDS"]),
    fuzzer("Policy", ["Documents", "Policy", "Primitives"]),
  ]
)
