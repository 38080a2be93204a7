// What Swift cannot import from OpenSSL 3.0 by itself: its function-like macros, as functions with types.
// Nothing here decides anything; decisions stand in the rooms TLS and Digest.
//
// <sys/select.h> comes first so that fd_set has the same shape here as in Swift's Glibc module, whatever
// feature macros a later header sets.

#ifndef MESHRELAY_COPENSSL_SHIM_H
#define MESHRELAY_COPENSSL_SHIM_H

#include <sys/select.h>

#include <stdint.h>
#include <string.h>
#include <time.h>

#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/params.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

// Contexts and connections

static inline int copenssl_set_versions(SSL_CTX *context, int minimum, int maximum) {
  return SSL_CTX_set_min_proto_version(context, minimum) == 1
      && SSL_CTX_set_max_proto_version(context, maximum) == 1;
}

static inline void copenssl_set_mode(SSL_CTX *context, long mode) {
  SSL_CTX_set_mode(context, mode);
}

static inline void copenssl_disable_session_cache(SSL_CTX *context) {
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
}

// Their values are 64-bit shifts behind a macro, which Swift does not import.
static inline void copenssl_set_safe_options(SSL_CTX *context) {
  SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION
                                   | SSL_OP_CIPHER_SERVER_PREFERENCE);
}

// Undoes a part of copenssl_set_safe_options: a server may give session tickets.
static inline void copenssl_allow_tickets(SSL_CTX *context) {
  SSL_CTX_clear_options(context, SSL_OP_NO_TICKET);
}

// For one connection: none after all.
static inline void copenssl_forbid_tickets(SSL *connection) {
  SSL_set_options(connection, SSL_OP_NO_TICKET);
  SSL_set_num_tickets(connection, 0);
}

static inline int copenssl_set_ticket_keys(
    SSL_CTX *context,
    int (*choose)(SSL *, unsigned char *, unsigned char *, EVP_CIPHER_CTX *, EVP_MAC_CTX *, int)) {
  return (int)SSL_CTX_set_tlsext_ticket_key_evp_cb(context, choose);
}

// AES-256-CBC under HMAC-SHA-256, as RFC 5077 recommends. Makes the iv when sealing, reads it when opening.
static inline int copenssl_use_ticket_key(
    EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, const uint8_t *cipher_key, const uint8_t *mac_key, uint8_t *iv,
    int sealing) {
  char digest[] = "SHA256";
  OSSL_PARAM parameters[3];
  parameters[0] = OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)mac_key, 32);
  parameters[1] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0);
  parameters[2] = OSSL_PARAM_construct_end();
  if (sealing && RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) != 1) return 0;
  if (EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, cipher_key, iv, sealing) != 1) return 0;
  return EVP_MAC_CTX_set_params(mac, parameters);
}

static inline int copenssl_set_groups(SSL_CTX *context, const char *groups) {
  return (int)SSL_CTX_set1_groups_list(context, groups);
}

static inline void copenssl_set_max_cert_list(SSL_CTX *context, long bytes) {
  SSL_CTX_set_max_cert_list(context, bytes);
}

static inline int copenssl_set_server_name(SSL *connection, const char *name) {
  return (int)SSL_set_tlsext_host_name(connection, name);
}

// BIO retry flags

static inline void copenssl_want_more_input(BIO *bio) {
  BIO_clear_retry_flags(bio);
  BIO_set_retry_read(bio);
}

static inline void copenssl_no_retry(BIO *bio) {
  BIO_clear_retry_flags(bio);
}

// All that a memory BIO holds: a pointer into it and the length.
static inline long copenssl_bio_contents(BIO *bio, const uint8_t **start) {
  return BIO_get_mem_data(bio, (char **)start);
}

// Stacks

static inline STACK_OF(X509) *copenssl_certificates_new(void) { return sk_X509_new_null(); }
static inline int copenssl_certificates_push(STACK_OF(X509) *stack, X509 *certificate) {
  return sk_X509_push(stack, certificate);
}
static inline int copenssl_certificates_count(const STACK_OF(X509) *stack) {
  return stack == NULL ? 0 : sk_X509_num(stack);
}
static inline X509 *copenssl_certificates_at(const STACK_OF(X509) *stack, int index) {
  return sk_X509_value(stack, index);
}
static inline void copenssl_certificates_free(STACK_OF(X509) *stack) {
  sk_X509_pop_free(stack, X509_free);
}

static inline int copenssl_names_count(const GENERAL_NAMES *names) {
  return sk_GENERAL_NAME_num(names);
}
static inline const GENERAL_NAME *copenssl_names_at(const GENERAL_NAMES *names, int index) {
  return sk_GENERAL_NAME_value(names, index);
}
// The text of a URI (GEN_URI) or DNS (GEN_DNS) name, NULL for every other type.
static inline const ASN1_STRING *copenssl_name_text(const GENERAL_NAME *name, int type) {
  return name->type == type ? name->d.ia5 : NULL;
}

static inline int copenssl_usages_count(const EXTENDED_KEY_USAGE *usages) {
  return sk_ASN1_OBJECT_num(usages);
}
static inline int copenssl_usages_nid(const EXTENDED_KEY_USAGE *usages, int index) {
  return OBJ_obj2nid(sk_ASN1_OBJECT_value(usages, index));
}

// Names, times and keys

static inline int copenssl_print_name(BIO *sink, const X509_NAME *name) {
  return X509_NAME_print_ex(sink, name, 0, XN_FLAG_RFC2253);
}

// Seconds since 1970 in UTC; 0 when the text is no valid time.
static inline int copenssl_time_seconds(const ASN1_TIME *time, int64_t *seconds) {
  struct tm parts;
  memset(&parts, 0, sizeof parts);
  if (time == NULL || ASN1_TIME_to_tm(time, &parts) != 1) return 0;
  *seconds = (int64_t)timegm(&parts);
  return 1;
}

static inline EVP_PKEY *copenssl_generate_p256(void) { return EVP_EC_gen("P-256"); }

// A password callback that has no password, so that nothing ever asks on a terminal.
static inline int copenssl_no_password(char *buffer, int size, int writing, void *argument) {
  (void)buffer;
  (void)size;
  (void)writing;
  (void)argument;
  return -1;
}

// Whether an error says that a password was wanted. The interruption is copenssl_no_password's refusal.
static inline int copenssl_wanted_password(unsigned long code) {
  int reason = ERR_GET_REASON(code);
  return reason == ERR_R_INTERRUPTED_OR_CANCELLED || reason == PEM_R_BAD_PASSWORD_READ
      || reason == PEM_R_PROBLEMS_GETTING_PASSWORD || reason == PEM_R_BAD_DECRYPT;
}

// DER of the first private key of a PEM text, in the secure heap, to be freed with copenssl_free_secret.
static inline uint8_t *copenssl_read_secret_pem(BIO *bio, long *count, int *is_encrypted) {
  uint8_t *der = NULL;
  char *label = NULL;
  if (PEM_bytes_read_bio_secmem(&der, count, &label, PEM_STRING_EVP_PKEY, bio, copenssl_no_password, NULL) != 1)
    return NULL;
  *is_encrypted = strcmp(label, PEM_STRING_PKCS8) == 0;
  OPENSSL_secure_free(label);
  return der;
}

// A key of the numbers given; NULL when they are none. Secret numbers go straight into the secure heap.
static inline EVP_PKEY *copenssl_make_key(const char *kind, OSSL_PARAM_BLD *numbers) {
  EVP_PKEY *key = NULL;
  OSSL_PARAM *parameters = OSSL_PARAM_BLD_to_param(numbers);
  EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, kind, NULL);
  if (parameters != NULL && context != NULL && EVP_PKEY_fromdata_init(context) == 1)
    (void)EVP_PKEY_fromdata(context, &key, EVP_PKEY_KEYPAIR, parameters);
  EVP_PKEY_CTX_free(context);
  OSSL_PARAM_free(parameters);
  return key;
}

static inline EVP_PKEY *copenssl_make_ec_key(
    const char *curve, const uint8_t *number, size_t number_count, const uint8_t *point, size_t point_count) {
  EVP_PKEY *key = NULL;
  BIGNUM *secret = BN_secure_new();
  OSSL_PARAM_BLD *numbers = OSSL_PARAM_BLD_new();
  if (secret != NULL && numbers != NULL && BN_bin2bn(number, (int)number_count, secret) != NULL
      && OSSL_PARAM_BLD_push_utf8_string(numbers, OSSL_PKEY_PARAM_GROUP_NAME, curve, 0) == 1
      && OSSL_PARAM_BLD_push_octet_string(numbers, OSSL_PKEY_PARAM_PUB_KEY, point, point_count) == 1
      && OSSL_PARAM_BLD_push_BN_pad(numbers, OSSL_PKEY_PARAM_PRIV_KEY, secret, number_count) == 1)
    key = copenssl_make_key("EC", numbers);
  OSSL_PARAM_BLD_free(numbers);
  BN_clear_free(secret);
  return key;
}

// n, e, d, p, q, d mod p-1, d mod q-1, 1/q mod p.
static inline EVP_PKEY *copenssl_make_rsa_key(const uint8_t *const *bytes, const long *counts) {
  const char *const names[8] = {
      OSSL_PKEY_PARAM_RSA_N,         OSSL_PKEY_PARAM_RSA_E,         OSSL_PKEY_PARAM_RSA_D,
      OSSL_PKEY_PARAM_RSA_FACTOR1,   OSSL_PKEY_PARAM_RSA_FACTOR2,   OSSL_PKEY_PARAM_RSA_EXPONENT1,
      OSSL_PKEY_PARAM_RSA_EXPONENT2, OSSL_PKEY_PARAM_RSA_COEFFICIENT1};
  BIGNUM *secrets[8] = {NULL};
  OSSL_PARAM_BLD *numbers = OSSL_PARAM_BLD_new();
  int good = numbers != NULL;
  for (int i = 0; good && i < 8; i++) {
    secrets[i] = BN_secure_new();
    good = secrets[i] != NULL && BN_bin2bn(bytes[i], (int)counts[i], secrets[i]) != NULL
        && OSSL_PARAM_BLD_push_BN(numbers, names[i], secrets[i]) == 1;
  }
  EVP_PKEY *key = good ? copenssl_make_key("RSA", numbers) : NULL;
  OSSL_PARAM_BLD_free(numbers);
  for (int i = 0; i < 8; i++) BN_clear_free(secrets[i]);
  return key;
}

static inline void copenssl_free_secret(uint8_t *secret, long count) {
  OPENSSL_secure_clear_free(secret, (size_t)count);
}

#endif
