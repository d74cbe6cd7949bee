/* failure.c - what OpenSSL says, as weft's codes and texts.
 *
 * Its queue is the thread's, so it is read, and emptied, before anything can suspend. */
#include <limits.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>
#include <tls/tls.h>

static const char *text_of(unsigned long error)
{
    const char *text = ERR_reason_error_string(error);
    return text ? text : "unknown failure";
}

/* The oldest entry is what went wrong; later ones say what that led to. */
static unsigned long take_error(void)
{
    unsigned long error = ERR_peek_error();
    ERR_clear_error();
    return error;
}

static bool is_out_of_memory(unsigned long error) { return ERR_GET_REASON(error) == ERR_R_MALLOC_FAILURE; }

/* ---- connections ----------------------------------------------------------------------------------------------- */

int wf_tls_fail_with(wf_tls *t, int code, const char *reason)
{
    if (!t->refused)
        snprintf(t->reason, sizeof t->reason, "%s", reason);
    t->accepted = 0;
    return t->failed = code;
}

int wf_tls_fail(wf_tls *t)
{
    char reason[WF_TLS_REASON];
    unsigned long error = take_error();
    if (is_out_of_memory(error))
        return wf_tls_fail_with(t, WEFT_ENOMEM, "TLS: out of memory");
    if (ERR_GET_LIB(error) == ERR_LIB_SSL && ERR_GET_REASON(error) == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE)
        return wf_tls_fail_with(t, WEFT_ECERTIFICATE, "the peer has no certificate");
    snprintf(reason, sizeof reason, "TLS: %s", text_of(error));
    return wf_tls_fail_with(t, t->refused ? WEFT_ECERTIFICATE : WEFT_ETLS, reason);
}

int wf_tls_tell(const wf_tls *t) { return weft_error_set(t->failed, "%s", t->reason); }

/* ---- certificates ---------------------------------------------------------------------------------------------- */

void wf_tls_subject(X509 *certificate, char *buf, size_t size)
{
    const unsigned long flags = XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB;
    BIO *text = certificate ? BIO_new(BIO_s_mem()) : NULL;
    buf[0] = '\0';
    if (text && X509_NAME_print_ex(text, X509_get_subject_name(certificate), 0, flags) >= 0) {
        int n = BIO_read(text, buf, size > INT_MAX ? INT_MAX : (int)size - 1);
        buf[n > 0 ? n : 0] = '\0';
    }
    BIO_free(text);
    ERR_clear_error();
}

static const char *why(int error)
{
    switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        return "certificate expired";
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return "certificate not yet valid";
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        return "certificate of another host";
    default:
        return X509_verify_cert_error_string(error);
    }
}

int wf_tls_verify(int ok, X509_STORE_CTX *store)
{
    if (ok)
        return ok;
    wf_tls *t = SSL_get_app_data(X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
    char subject[160];
    wf_tls_subject(X509_STORE_CTX_get_current_cert(store), subject, sizeof subject);
    snprintf(t->reason, sizeof t->reason, "%s: %s", why(X509_STORE_CTX_get_error(store)), subject);
    t->refused = true;
    return 0;
}

/* ---- contexts -------------------------------------------------------------------------------------------------- */

int wf_tls_fail_about(const char *what, int code)
{
    unsigned long error = take_error();
    if (is_out_of_memory(error))
        return WEFT_ENOMEM;
    return weft_error_set(code, "%s: %s", what, error ? text_of(error) : weft_strerror(code));
}
