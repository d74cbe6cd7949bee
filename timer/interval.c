/* interval.c - the same wait again and again, by a schedule.
 *
 * The schedule moves only when a tick has been taken: an interrupted wait leaves the interval as it was. Sums saturate: a tick
 * further away than time goes is due at WEFT_FOREVER, which never comes. */
#include <base/common.h>
#include <timer/interval.h>

/* In next_: no tick was asked for yet, so the first is due when it is. Later ones are due after the clock's zero. */
enum { NOT_STARTED = 0 };

int weft_interval_init(weft_interval *iv, int64_t period, weft_missed behaviour)
{
    if (!iv || period <= 0 || (unsigned)behaviour > WEFT_MISSED_SKIP)
        return WEFT_EINVAL;
    *iv = (weft_interval){.period_ = period, .next_ = NOT_STARTED, .behaviour_ = behaviour};
    return 0;
}

int64_t wf_interval_due(const weft_interval *iv) { return iv->next_ == NOT_STARTED ? weft_now() : iv->next_; }

/* Perhaps so late that the times of others have passed too. */
void wf_interval_take(weft_interval *iv, int64_t due, int64_t now)
{
    int64_t late = now - due, passed = late / iv->period_;
    bool leaves_out = iv->behaviour_ != WEFT_MISSED_BURST;
    if (passed > 0)
        iv->missed += 1 + (leaves_out ? (uint64_t)passed : 0);
    switch (iv->behaviour_) {
    case WEFT_MISSED_BURST:
        iv->next_ = wf_add_saturating(due, iv->period_);
        break;
    case WEFT_MISSED_DELAY:
        iv->next_ = wf_add_saturating(now, iv->period_);
        break;
    case WEFT_MISSED_SKIP:
        iv->next_ = wf_add_saturating(now, iv->period_ - late % iv->period_);
        break;
    }
}

int weft_interval_tick(weft_interval *iv, int64_t *scheduled)
{
    if (!iv || iv->period_ <= 0)
        return WEFT_EINVAL;
    int64_t due = wf_interval_due(iv);
    int err = weft_sleep_until(due);
    if (err < 0)
        return err;
    wf_interval_take(iv, due, weft_now());
    if (scheduled)
        *scheduled = due;
    return 0;
}

void weft_interval_reset(weft_interval *iv)
{
    if (iv)
        iv->next_ = wf_add_saturating(weft_now(), iv->period_);
}
