/* scope.h - which scopes the running code has entered, which of them have fired, and what stops with them.
 *
 * A scope is its owner's alone: no other thread ever touches its memory, which lies on a stack. Others fire a *binding*, which hangs
 * on the body and lives on the heap; the owner carries the firing over when it looks. So a scope that somebody forgot to leave
 * endangers nobody but its own task.
 *
 * Looking costs a walk, so awaits do it only when told to: by wf_exec_ops.mark, from whoever fires a binding and from the timer
 * that the execution armed when it suspended for the nearest deadline. */
#ifndef WF_SCOPE_H
#define WF_SCOPE_H

#include <base/exec.h>

/* From outside to one scope: a token's hand on it. Its kind embeds it. */
typedef struct wf_binding {
    struct wf_binding *next; /* the owner's */
    weft_scope *scope;       /* the owner's */
    wf_a32 fired;
    /* Whom a firing wakes from now on; NULL: nobody (the coroutine that entered the scope is not running). */
    void (*retarget)(struct wf_binding *self, wf_exec *exec);
    /* Free it; no firing is in flight any more when it returns. */
    void (*release)(struct wf_binding *self);
} wf_binding;

/* Something that is stopped when a scope around its creation fires, and closed when its creator ends: a group. */
typedef struct wf_dependent {
    struct wf_dependent *next, *prev;         /* under body->lock */
    bool linked;                              /* … too: the body's end has not taken it */
    wf_body *body;                            /* its creator's; NULL: nobody's */
    weft_scope *scope;                        /* the innermost around its creation; its creator's */
    bool of_thread;                           /* body is an ordinary thread's */
    bool stopped;                             /* its creator's */
    void (*stop)(struct wf_dependent *self);  /* any time, never waits */
    void (*close)(struct wf_dependent *self); /* waits */
} wf_dependent;

/* The calling execution, if its running body has @scope entered; else NULL. */
wf_exec *wf_scope_owner(const weft_scope *scope);

/* Is there anything to look at? */
static inline bool wf_scopes_entered(const wf_body *body) { return body->scopes || body->outer; }

/* Does a shield, in the running body or around it, hide an abort? */
static inline bool wf_is_shielded(const wf_exec *exec)
{
    for (const wf_body *body = exec->body; body; body = body->outer)
        if (body->shields > 0)
            return true;
    return false;
}

/* False: the frame of one of them is gone. It lies in the part of the stack from @low to @high that nobody uses any more, or
 * something else has been written where it was. Only after this may they be walked. */
bool wf_scopes_stand(const wf_body *body, const void *low, const void *high);

/* A shield was left: what was entered inside of it is outside of the next one. */
void wf_scopes_unshield(const wf_body *body);

/* The earliest deadline of what has not fired, or @deadline if that is earlier. */
int64_t wf_scopes_nearest(const wf_body *body, int64_t deadline);

/* Find out what has fired and stop what depends on it. Returns the code of the outermost one that no shield hides, with
 * exec->cause set, or 0. *@any: there is one that has fired, hidden or not. */
int wf_scopes_look(wf_exec *exec, bool *any);

/* The body's code has ended, or panicked: forget what it had entered. */
void wf_scopes_detach(wf_body *body);

/* A coroutine's body goes on, as part of @exec; or rests (NULL). */
void wf_scopes_retarget(wf_body *body, wf_exec *exec);

/* It depends on @scope and those around it; NULL: on the body only. */
void wf_dependent_add(wf_dependent *d, wf_exec *exec, weft_scope *scope);
/* Any thread; the creator's body is alive. False: its end has taken it, and will close it. */
bool wf_dependent_remove(wf_dependent *d);
/* An ordinary thread ends: whoever has its groups closes them. */
void wf_dependents_forget(wf_body *body);
/* The body's code has ended: close them all. */
void wf_dependents_close(wf_body *body);

/* Around fork(): nobody is in the midst of changing what the child gets a copy of. */
void wf_scopes_fork_lock(void);
void wf_scopes_fork_unlock(void);

#endif
