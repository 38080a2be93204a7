# Sourced by the commands of this folder: one way to make keys and to sign certificates with openssl(1).
# Everything secret is made under umask 077 and moved into place whole, so a reader never sees half a file.

set -euo pipefail
umask 077

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
  echo "$(basename "$0"): $*" >&2
  exit 1
}

# usage TEXT: prints the text and ends with the exit code of a wrong call.
usage() {
  echo "usage: $(basename "$0") $*" >&2
  exit 64
}

# moment OFFSET: a time relative to now, as openssl ca wants it, e.g. moment '-5 minutes'.
moment() { date -u -d "$1" +%Y%m%d%H%M%SZ; }

check_trust_domain() {
  [[ "$1" =~ ^[a-z0-9._-]{1,255}$ ]] || fail "'$1' is no trust domain: use a-z, 0-9, '.', '-' and '_'"
}

check_name() {
  [[ "$1" =~ ^[A-Za-z0-9][A-Za-z0-9._-]*$ ]] || fail "'$1' is no file name: use letters, digits, '.', '-' and '_'"
  case "$1" in ca | bundle) fail "the name '$1' belongs to the authority" ;; esac
}

# trust_domain_of DIR: the trust domain whose authority lives in DIR.
trust_domain_of() {
  [[ -r "$1/ca.pem" && -r "$1/ca.key" ]] || fail "$1 holds no authority; run make-trust-domain first"
  openssl x509 -in "$1/ca.pem" -noout -ext subjectAltName | sed -n 's|.*URI:spiffe://\([^,]*\).*|\1|p'
}

# request KEY SUBJECT: makes an EC P-256 key and prints a signing request.
request() {
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"
  openssl req -new -key "$1" -subj "$2"
}

# certify START END EXTENSIONS ARGUMENT…: reads a request, prints a certificate.
# EXTENSIONS are lines of x509v3_config(5); the arguments say who signs.
certify() {
  local start=$1 end=$2 extensions=$3
  shift 3
  : >"$work/index"
  cat >"$work/config" <<CONFIG
[ca]
default_ca = signing
[signing]
database = $work/index
new_certs_dir = $work
default_md = sha256
policy = any
unique_subject = no
rand_serial = yes
x509_extensions = extensions
[any]
organizationName = optional
commonName = optional
[extensions]
$extensions
CONFIG
  cat >"$work/request"
  openssl ca -batch -notext -config "$work/config" -in "$work/request" \
    -startdate "$start" -enddate "$end" -out "$work/certificate" "$@" 2>"$work/log" ||
    { cat "$work/log" >&2; fail "openssl refused to sign"; }
  cat "$work/certificate"
}

# make_authority DIR TRUST_DOMAIN: ca.key, ca.pem and bundle.pem, good for seven days.
make_authority() {
  request "$work/ca.key" "/O=meshrelay development/CN=authority of $2" >"$work/ca.request"
  certify "$(moment '-5 minutes')" "$(moment '+7 days')" "
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
subjectAltName = URI:spiffe://$2" -selfsign -keyfile "$work/ca.key" <"$work/ca.request" >"$work/ca.pem"
  chmod 0644 "$work/ca.pem"
  cp -p "$work/ca.pem" "$work/bundle.pem"
  mv "$work/ca.key" "$work/ca.pem" "$work/bundle.pem" "$1/"
}

# Extensions of a good leaf, except its names.
leaf_extensions="
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth, clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid"

# issue AUTHORITY DIR NAME START END EXTENSIONS: DIR/NAME.pem and DIR/NAME.key, signed by the authority in AUTHORITY.
issue() {
  request "$work/leaf.key" "/O=meshrelay development/CN=$3" >"$work/leaf.request"
  certify "$4" "$5" "$6" -cert "$1/ca.pem" -keyfile "$1/ca.key" <"$work/leaf.request" >"$work/leaf.pem"
  if [[ -e "$1/chain.pem" ]]; then cat "$1/chain.pem" >>"$work/leaf.pem"; fi
  chmod 0644 "$work/leaf.pem"
  mv "$work/leaf.key" "$2/$3.key"
  mv "$work/leaf.pem" "$2/$3.pem"
}
