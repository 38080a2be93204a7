"""A trust domain for tests: a CA and X.509-SVIDs, good ones and every bad one the tests need.

Made with python-cryptography, not with the project's own pki/ scripts, so that a mistake shared by the
scripts and the verifier cannot hide. Keys live in the test's temporary folder only.
"""

import dataclasses
import datetime
import pathlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# gRPC for Python checks host names, SPIFFE does not: every SVID of the tests also carries this one.
DNS_NAME = "localhost"


@dataclasses.dataclass(frozen=True)
class SVID:
    """Files of one identity; `certificate` is leaf first, then intermediates."""

    uri: str
    certificate: pathlib.Path
    key: pathlib.Path


class TrustDomain:
    def __init__(self, folder, name="example.org"):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.name = name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, f"{name} test CA")])
        certificate = (
            self._builder(self._subject, self._key.public_key(), -1, 24)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://{name}")]),
                critical=False)
            .sign(self._key, hashes.SHA256()))
        self.bundle = self.folder / "bundle.pem"
        self.bundle.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        self._issued = 0

    def id(self, path):
        return f"spiffe://{self.name}/{path}"

    def issue(self, path, *, uris=None, from_hours=-1, to_hours=24, is_ca=False, signs=True,
              purposes=("server_auth", "client_auth"), folder=None):
        """An SVID for `spiffe://<trust domain>/<path>`; the keywords make the bad ones."""
        uris = [self.id(path)] if uris is None else uris
        self._issued += 1
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.UniformResourceIdentifier(uri) for uri in uris] + [x509.DNSName(DNS_NAME)]
        certificate = (
            self._builder(x509.Name([]), key.public_key(), from_hours, to_hours)
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=is_ca, signs=signs and not is_ca), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([getattr(ExtendedKeyUsageOID, purpose.upper()) for purpose in purposes]),
                critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
            .sign(self._key, hashes.SHA256()))
        name = f"{path.replace('/', '-')}-{self._issued}"
        folder = pathlib.Path(folder or self.folder)
        svid = SVID(uris[0] if uris else "", folder / f"{name}.pem", folder / f"{name}.key")
        svid.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        svid.key.write_bytes(key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        svid.key.chmod(0o600)
        return svid

    def revoking(self, *svids):
        """A revocation list with these certificates, as DER."""
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self._subject).last_update(now).next_update(
            now + datetime.timedelta(hours=1))
        for svid in svids:
            leaf = x509.load_pem_x509_certificate(svid.certificate.read_bytes())
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder().serial_number(leaf.serial_number).revocation_date(now).build())
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)

    def _builder(self, subject, public_key, from_hours, to_hours):
        now = datetime.datetime.now(datetime.timezone.utc)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + datetime.timedelta(hours=from_hours))
            .not_valid_after(now + datetime.timedelta(hours=to_hours)))


def _key_usage(signs_certificates, signs=False):
    return x509.KeyUsage(
        digital_signature=signs, key_cert_sign=signs_certificates, crl_sign=signs_certificates,
        content_commitment=False, key_encipherment=not signs_certificates and not signs, data_encipherment=False, key_agreement=False,
        encipher_only=False, decipher_only=False)
