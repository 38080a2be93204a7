"""Resource bodies by an implementation that is not ours: protoc's descriptors and Google's protobuf.

A manifest becomes the message it stands for by `json_format`, after the two things in which Istio's
reader differs from today's ProtoJSON are translated: Go durations and `null`.
"""

import pathlib
import re
import subprocess
import tempfile

import yaml
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, json_format, message_factory

from .relay import ROOT

BODY_PREFIX = "type.googleapis.com/"
ENVELOPE = BODY_PREFIX + "istio.mcp.v1alpha1.Resource"

# kind → group, versions that may be asked for, body message. Written from Istio's public schema table.
_NETWORKING = ("networking.istio.io", ("v1", "v1beta1", "v1alpha3"), "istio.networking.v1alpha3.")
_SECURITY = ("security.istio.io", ("v1", "v1beta1"), "istio.security.v1beta1.")
_EXTENSIONS = ("extensions.istio.io", ("v1alpha1",), "istio.extensions.v1alpha1.")
KINDS = {
    "AuthorizationPolicy": _SECURITY,
    "PeerAuthentication": _SECURITY,
    "RequestAuthentication": _SECURITY,
    "DestinationRule": _NETWORKING,
    "Gateway": _NETWORKING,
    "ServiceEntry": _NETWORKING,
    "Sidecar": _NETWORKING,
    "VirtualService": _NETWORKING,
    "WorkloadEntry": _NETWORKING,
    "WorkloadGroup": _NETWORKING,
    "EnvoyFilter": ("networking.istio.io", ("v1alpha3",), "istio.networking.v1alpha3."),
    "ProxyConfig": ("networking.istio.io", ("v1beta1",), "istio.networking.v1beta1."),
    "Telemetry": ("telemetry.istio.io", ("v1", "v1alpha1"), "istio.telemetry.v1alpha1."),
    "TrafficExtension": _EXTENSIONS,
    "WasmPlugin": _EXTENSIONS,
}


def type_urls(kind):
    """Every spelling of a kind that a client may ask for."""
    group, versions, _ = KINDS[kind]
    return [f"{group}/{version}/{kind}" for version in versions]


ALL_TYPE_URLS = [url for kind in KINDS for url in type_urls(kind)]


def message_name(kind):
    return KINDS[kind][2] + kind


def _compile():
    """A pool with the envelope and every Istio message, compiled by protoc for this run."""
    here = pathlib.Path(__file__).parent
    protos = ROOT / "Protos"
    # The project's schema for bodies; the envelope is the tests' own.
    sources = sorted(
        str(path.relative_to(protos)) for path in (protos / "istio").rglob("*.proto") if "mcp" not in path.parts)
    with tempfile.TemporaryDirectory() as folder:
        output = pathlib.Path(folder) / "all.binpb"
        subprocess.run(
            ["protoc", f"-I{protos}", f"-I{here}", "--include_imports", f"--descriptor_set_out={output}",
             "mcp.proto", *sources], check=True)
        files = descriptor_pb2.FileDescriptorSet.FromString(output.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    return pool


_pool = _compile()


def message_class(name):
    return message_factory.GetMessageClass(_pool.FindMessageTypeByName(name))


Resource = message_class("istio.mcp.v1alpha1.Resource")


def decode_any(wrapped):
    """The message inside an Any, by the name after its last slash."""
    return message_class(wrapped.type_url.rpartition("/")[2]).FromString(wrapped.value)


def envelopes(response):
    """Resources of a state-of-the-world response by wire name; the outer type is checked."""
    resources = [decode_envelope(wrapped) for wrapped in response.resources]
    by_name = {resource.metadata.name: resource for resource in resources}
    assert len(by_name) == len(resources), "a name occurs twice in one response"
    return by_name


def decode_envelope(wrapped):
    assert isinstance(wrapped, any_pb2.Any)
    assert wrapped.type_url == ENVELOPE, wrapped.type_url
    return Resource.FromString(wrapped.value)


def read_manifests(folder):
    """Every object below a folder: {(kind, "namespace/name"): manifest}."""
    objects = {}
    for path in sorted(pathlib.Path(folder).rglob("*")):
        if path.suffix in (".yaml", ".yml", ".json"):
            objects.update(read_manifests_of(path))
    return objects


def read_manifests_of(path):
    """Every object of one file, in the same form."""
    return {
        (manifest["kind"], f"{manifest['metadata']['namespace']}/{manifest['metadata']['name']}"): manifest
        for manifest in yaml.safe_load_all(pathlib.Path(path).read_text()) if manifest}


def expected_body(manifest):
    """The message that a manifest's spec stands for."""
    kind = message_class(message_name(manifest["kind"]))
    return json_format.ParseDict(_as_protojson(manifest.get("spec") or {}, kind.DESCRIPTOR), kind())


_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


def _go_duration(text):
    """`1m30s` → `90.000000000s`."""
    sign, rest = ("-", text[1:]) if text.startswith("-") else ("", text)
    assert re.fullmatch(r"(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+", rest), text
    total = 0
    for number, _, unit in re.findall(r"(\d+(\.\d+)?)(ns|us|µs|ms|s|m|h)", rest):
        whole, _, fraction = number.partition(".")
        total += int(whole) * _UNITS[unit]
        if fraction:
            total += int(fraction) * _UNITS[unit] // 10 ** len(fraction)
    return f"{sign}{total // 10**9}.{total % 10**9:09d}s"


def _as_protojson(value, descriptor):
    if descriptor.full_name == "google.protobuf.Duration":
        return _go_duration(value)
    if descriptor.full_name.startswith("google.protobuf."):
        return value
    fields = {name: field for field in descriptor.fields for name in (field.name, field.json_name)}
    return {
        key: _field_as_protojson(inner, fields[key]) for key, inner in value.items() if inner is not None}


def _field_as_protojson(value, field):
    if field.message_type is None:
        return value
    if field.message_type.GetOptions().map_entry:
        inner = field.message_type.fields_by_name["value"]
        return {
            str(key): _as_protojson(item, inner.message_type) if inner.message_type else item
            for key, item in value.items()}
    if isinstance(value, list):
        return [_as_protojson(item, field.message_type) for item in value]
    return _as_protojson(value, field.message_type)
