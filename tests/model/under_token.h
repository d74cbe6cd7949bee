/* under_token.h - a wait that another thread interrupts, at any moment. Includes what tokens are made of. */
#ifndef MODEL_UNDER_TOKEN_H
#define MODEL_UNDER_TOKEN_H

#include "ordinary.h"

#define wait_for wait_for_token
#define poll_case poll_token
#define leave_case leave_token
#define wait_locked wait_for_token_locked
#include <sync/token.c>
#undef wait_locked
#undef leave_case
#undef poll_case
#undef wait_for

/* In a scope that @token cancels: it has happened, or it has not. Returns 0, WEFT_ECANCELED or WEFT_ECLOSED. */
static inline int under_token(weft_token *token, int (*wait)(void))
{
    weft_scope scope;
    model_check(weft_scope_enter(&scope, WEFT_FOREVER) == 0);
    model_check(weft_scope_bind(&scope, token) == 0);
    int err = wait();
    model_check(err == 0 || err == WEFT_ECANCELED || err == WEFT_ECLOSED);
    model_check(weft_scope_leave(&scope) == (err == WEFT_ECANCELED ? WEFT_ECANCELED : 0));
    return err;
}

static inline weft_token *under_token_make(void)
{
    weft_token *token;
    model_check(weft_token_create(&token, NULL) == 0);
    model_name(token->lock, "token");
    return token;
}

#endif
