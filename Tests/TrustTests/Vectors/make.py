#!/usr/bin/env python3
"""Writes svid-vectors.json: certificates and what an X.509-SVID validator must say of them. See README.md.

Keys exist while this runs only; the file holds certificates. Run it to add cases: `Tests/Integration/.venv/bin/python
make.py > svid-vectors.json`. The integration tests run the same table, made for now, against a relay (`table`).
"""

import base64
import datetime
import json

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

NOW = datetime.datetime(2026, 11, 23, 12, 0, 0, tzinfo=datetime.timezone.utc)
# Public key → private key, of everything issued.
KEYS = {}


def public(certificate):
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
HOUR = datetime.timedelta(hours=1)
BOTH = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]


def name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)] if text else [])


def usage(*bits):
    known = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
             "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{bit: bit in bits for bit in known})


class Authority:
    def __init__(self, domain, parent=None, *, uris=None, ca=True, path_length=None, bits=("key_cert_sign", "crl_sign"),
                 begin=-24, end=24, constraints=None, subject=None):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.subject = name(subject or f"authority of {domain}{' below' if parent else ''}")
        extensions = [(x509.BasicConstraints(ca, path_length if ca else None), True)]
        if bits:
            extensions.append((usage(*bits), True))
        uris = [f"spiffe://{domain}"] if uris is None else uris
        if uris:
            extensions.append((x509.SubjectAlternativeName(map(x509.UniformResourceIdentifier, uris)), False))
        if constraints:
            extensions.append((constraints, True))
        self.certificate = sign(
            self.subject, self.key, parent.subject if parent else self.subject, parent.key if parent else self.key,
            begin, end, extensions)
        KEYS[public(self.certificate)] = self.key

    def revoking(self, *certificates, begin=-1, end=1):
        """A revocation list."""
        return revocation_list(self.subject, self.key, certificates, begin, end)

    def issue(self, uris, *, ca=False, basic=True, bits=("digital_signature",), purposes=BOTH, begin=-1, end=1,
              subject="workload", dns=(), extra=()):
        extensions = []
        if basic:
            extensions.append((x509.BasicConstraints(ca, None), True))
        if bits:
            extensions.append((usage(*bits), True))
        if purposes:
            extensions.append((x509.ExtendedKeyUsage(purposes), False))
        names = [x509.UniformResourceIdentifier(uri) for uri in uris] + [x509.DNSName(each) for each in dns]
        if names:
            extensions.append((x509.SubjectAlternativeName(names), not subject))
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = sign(name(subject), key, self.subject, self.key, begin, end, extensions + list(extra))
        KEYS[public(certificate)] = key
        return certificate


def revocation_list(issuer, key, certificates, begin, end):
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer).last_update(NOW + begin * HOUR).next_update(
        NOW + end * HOUR)
    for certificate in certificates:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder().serial_number(certificate.serial_number)
            .revocation_date(NOW + begin * HOUR).build())
    return builder.sign(key, hashes.SHA256())


def sign(subject, key, issuer, signer, begin, end, extensions):
    builder = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(NOW + begin * HOUR)
        .not_valid_after(NOW + end * HOUR))
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(signer, hashes.SHA256())


def der(certificate):
    from cryptography.hazmat.primitives.serialization import Encoding
    return certificate if isinstance(certificate, bytes) else certificate.public_bytes(Encoding.DER)


def text(certificate):
    return base64.b64encode(der(certificate)).decode()


ID = "spiffe://td.example/ns/a/sa/b"


def table(now=NOW):
    """Every vector, made for one moment; what signs them all, first `td.example`, then `other.example`."""
    global NOW
    NOW = now
    root = Authority("td.example")
    other = Authority("other.example")
    vectors = []

    def vector(rule, title, chain, expect, *, bundles=None, role="client", seconds=0, revocations=()):
        if bundles is None:
            bundles = {"td.example": [root.certificate], "other.example": [other.certificate]}
        moment = NOW + datetime.timedelta(seconds=seconds)
        vectors.append({
            "rule": rule, "title": title, "time": moment.strftime("%Y-%m-%dT%H:%M:%SZ"), "role": role,
            "chain": [text(each) for each in chain],
            "bundles": {domain: [text(each) for each in anchors] for domain, anchors in bundles.items()},
            **({"revocations": [text(each) for each in revocations]} if revocations else {}), "expect": expect})

    def good(rule, title, chain, **more):
        vector(rule, title, chain, {"id": more.pop("id", ID)}, **more)

    def bad(rule, title, chain, result, **more):
        vector(rule, title, chain, {"result": result}, **more)

    leaf = root.issue([ID])
    good(1, "a leaf of a root", [leaf])
    bad(1, "no certificate", [], "no_certificate")
    bad(1, "no DER", [b"no certificate"], "bad_id")
    bad(1, "bytes after the certificate", [der(leaf) + b"\0"], "bad_id")
    below = Authority("td.example", root)
    good(1, "an intermediate presented", [below.issue([ID]), below.certificate])
    bad(1, "the intermediate is missing", [below.issue([ID])], "untrusted")
    bad(1, "the intermediate first", [below.certificate, below.issue([ID])], "bad_id")

    good(2, "other names are irrelevant", [root.issue([ID], dns=["host.example"])])
    bad(2, "no URI", [root.issue([], dns=["host.example"])], "bad_id")
    bad(2, "no names at all", [root.issue([])], "bad_id")
    bad(2, "two SPIFFE IDs", [root.issue([ID, ID + "c"])], "bad_id")
    bad(2, "the same SPIFFE ID twice", [root.issue([ID, ID])], "bad_id")
    bad(2, "a SPIFFE ID and another URI", [root.issue([ID, "https://td.example/"])], "bad_id")

    for wrong in ("https://td.example/a", "spiffe://Td.example/a", "spiffe://td.example", "spiffe://td.example/",
                  "spiffe:///a", "spiffe://td.example//a", "spiffe://td.example/a/", "spiffe://td.example/./a",
                  "spiffe://td.example/a/..", "spiffe://td.example:80/a", "spiffe://u@td.example/a",
                  "spiffe://td.example/a?b", "spiffe://td.example/a#b", "spiffe://td.example/%61", "spiffe:td.example/a",
                  "spiffe://td.example/a b", "spiffe://td.example/" + "a" * 2040):
        bad(3, f"no workload's SPIFFE ID: {wrong[:60]}", [root.issue([wrong])], "bad_id")
    good(3, "upper case in the path, every kind of character", [root.issue(["spiffe://td.example/Az09.-_"])],
         id="spiffe://td.example/Az09.-_")

    bad(4, "a leaf that is an authority", [root.issue([ID], ca=True)], "bad_id")
    good(4, "no basic constraints", [root.issue([ID], basic=False)])

    for bit in ("key_cert_sign", "crl_sign"):
        bad(5, f"a leaf whose key usage allows {bit}", [root.issue([ID], bits=("digital_signature", bit))], "bad_id")
    bad(5, "a leaf whose key usage leaves out digital_signature", [root.issue([ID], bits=("key_encipherment",))], "bad_id")
    good(5, "key_encipherment and key_agreement beside it",
         [root.issue([ID], bits=("digital_signature", "key_encipherment", "key_agreement"))])

    good(6, "no extended key usage", [root.issue([ID], purposes=None)])
    bad(6, "a server's purpose from a client", [root.issue([ID], purposes=BOTH[:1])], "bad_id")
    good(6, "a server's purpose from a server", [root.issue([ID], purposes=BOTH[:1])], role="server")
    bad(6, "a client's purpose from a server", [root.issue([ID], purposes=BOTH[1:])], "bad_id", role="server")
    bad(6, "code signing only", [root.issue([ID], purposes=[ExtendedKeyUsageOID.CODE_SIGNING])], "bad_id")

    bad(7, "a trust domain without a bundle", [root.issue(["spiffe://unknown.example/a"])], "untrusted")
    bad(7, "an ID of one trust domain by the authority of another", [other.issue([ID])], "untrusted")
    bad(7, "an authority of another trust domain below ours", [Authority("other.example", root).issue([ID]),
        Authority("other.example", root).certificate], "untrusted")
    bad(7, "an empty bundle", [leaf], "untrusted", bundles={"td.example": []})
    good(7, "by its own trust domain's bundle", [other.issue(["spiffe://other.example/x"])], id="spiffe://other.example/x")

    bad(8, "a stranger of the same name", [Authority("td.example").issue([ID])], "untrusted")
    forged = bytearray(der(leaf))
    forged[-1] ^= 1
    bad(8, "a signature that does not fit", [bytes(forged)], "untrusted")
    bad(8, "expired", [root.issue([ID], begin=-3, end=-1)], "expired")
    bad(8, "not yet valid", [root.issue([ID], begin=1, end=3)], "expired")
    edge = root.issue([ID], begin=-1, end=1)
    good(8, "a second before the last", [edge], seconds=3599)
    bad(8, "a second after the last", [edge], "expired", seconds=3601)
    good(8, "the first second", [edge], seconds=-3600)
    bad(8, "a second before the first", [edge], "expired", seconds=-3601)
    old = Authority("td.example", root, begin=-5, end=-1)
    bad(8, "an expired intermediate", [old.issue([ID]), old.certificate], "expired")
    old_root = Authority("td.example", begin=-5, end=-1)
    bad(8, "an expired anchor", [old_root.issue([ID])], "expired", bundles={"td.example": [old_root.certificate]})
    short = Authority("td.example", root, path_length=0)
    deeper = Authority("td.example", short, subject="third")
    bad(8, "a path longer than an authority allows", [deeper.issue([ID]), deeper.certificate, short.certificate], "untrusted")
    bad(8, "an unknown critical extension",
        [root.issue([ID], extra=[(x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\5\0"), True)])], "untrusted")
    good(8, "an unknown extension that is not critical",
         [root.issue([ID], extra=[(x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\5\0"), False)])])
    plain = Authority("td.example", root, ca=False, bits=("digital_signature",), uris=[])
    bad(8, "an issuer that is no authority", [plain.issue([ID]), plain.certificate], "untrusted")
    mute = Authority("td.example", root, bits=("crl_sign",))
    bad(8, "an issuer that may not sign certificates", [mute.issue([ID]), mute.certificate], "untrusted")
    allowed = Authority("td.example", root, constraints=x509.NameConstraints([x509.UniformResourceIdentifier("td.example")], None))
    good(8, "within a name constraint", [allowed.issue([ID]), allowed.certificate])
    confined = Authority("td.example", root, constraints=x509.NameConstraints([x509.UniformResourceIdentifier("x.example")], None))
    bad(8, "outside of the permitted names", [confined.issue([ID]), confined.certificate], "untrusted")
    excluded = Authority("td.example", root, constraints=x509.NameConstraints(None, [x509.UniformResourceIdentifier("td.example")]))
    bad(8, "an excluded name", [excluded.issue([ID]), excluded.certificate], "untrusted")

    bad(9, "an authority with a workload's ID", [Authority("td.example", root, uris=[ID]).issue([ID]),
        Authority("td.example", root, uris=[ID]).certificate], "untrusted")
    named = Authority("td.example", root, uris=[ID])
    bad(9, "an intermediate that names a workload", [named.issue([ID]), named.certificate], "untrusted")
    double = Authority("td.example", root, uris=["spiffe://td.example", "spiffe://td.example/x"])
    bad(9, "an intermediate with two URIs", [double.issue([ID]), double.certificate], "untrusted")
    foreign = Authority("td.example", root, uris=["spiffe://other.example"])
    bad(9, "an intermediate of another trust domain", [foreign.issue([ID]), foreign.certificate], "untrusted")
    nameless = Authority("td.example", root, uris=[])
    good(9, "an intermediate without a URI", [nameless.issue([ID]), nameless.certificate])

    good(10, "an intermediate as the anchor", [below.issue([ID])], bundles={"td.example": [below.certificate]})
    for place in (0, 1, 2):
        anchors = [Authority("td.example").certificate for _ in range(2)]
        anchors.insert(place, root.certificate)
        good(10, f"number {place + 1} of three anchors of one name", [leaf], bundles={"td.example": anchors})
    bad(10, "none of three anchors of one name", [leaf], "untrusted",
        bundles={"td.example": [Authority("td.example").certificate for _ in range(3)]})

    good(11, "no subject", [root.issue([ID], subject="")])
    issued = below.issue([ID])
    chain = [issued, below.certificate]
    for title, lists in (
            ("a leaf that its issuer has revoked", [below.revoking(issued)]),
            ("one of several on one of several lists", [root.revoking(), below.revoking(below.issue([ID]), issued)]),
            ("an intermediate that its issuer has revoked", [root.revoking(below.certificate)]),
            ("on a list that is past its next update", [below.revoking(issued, begin=-3, end=-2)])):
        bad(13, title, chain, "untrusted", revocations=lists)
    good(13, "another certificate of the same identity is revoked", chain, revocations=[below.revoking(below.issue([ID]))])
    good(13, "revoked by who did not issue it", chain, revocations=[root.revoking(issued)])
    good(13, "revoked by who only bears the issuer's name", chain,
         revocations=[Authority("td.example", root).revoking(issued)])
    good(13, "an empty list", chain, revocations=[below.revoking()])
    return vectors, root, other


if __name__ == "__main__":
    print(json.dumps({"version": 2, "vectors": table()[0]}, indent=1))
