/* weft/token.h - cancellation from elsewhere: one hand lets go, any number of tasks stop. */
#ifndef WEFT_TOKEN_H
#define WEFT_TOKEN_H

#include <weft/base.h>
#include <weft/future.h>
#include <weft/scope.h>

WEFT_BEGIN_DECLS

typedef struct weft_token weft_token;

/**
 * @parent: cancelling it cancels this one too, never the reverse; NULL: none. A child of a cancelled token is born cancelled.
 * Returns: 0, WEFT_EINVAL or WEFT_ENOMEM. Any thread; needs no runtime.
 */
WEFT_API int weft_token_create(weft_token **token, weft_token *parent);

/** Cancel it and all below it, however deep, and wake who waits. Idempotent. Any thread and context; never waits. NULL: nothing. */
WEFT_API void weft_token_cancel(weft_token *token);

/** Any thread and context. NULL: 0. */
WEFT_API int weft_token_is_cancelled(const weft_token *token);

/** **awaits** its cancellation, in any number of tasks. Returns 0, an interruption, or WEFT_EINVAL. Cancel-safe. */
WEFT_API int weft_token_wait(weft_token *token);

/**
 * Free it. NULL: nothing. Returns 0, or WEFT_EBUSY and nothing freed: a scope is bound to it, somebody waits for it, or it has
 * children (of a token that was cancelled they are on their own).
 */
WEFT_API int weft_token_free(weft_token *token);

/**
 * Let @token cancel @scope, which the caller has entered. A scope may be bound to several tokens. Ends when the scope is left.
 * Returns: 0, also when the token is cancelled already; WEFT_EINVAL; WEFT_ENOMEM.
 */
WEFT_API int weft_scope_bind(weft_scope *scope, weft_token *token);

WEFT_END_DECLS

#endif
