/* SPDX-License-Identifier: Apache-2.0 */
/* The progress line: updated in place on a terminal, plain lines elsewhere. */
#define _POSIX_C_SOURCE 200809L
#include <math.h>
#include <sys/resource.h>
#include <unistd.h>

#include <akin/report.h>
#include <akin/tensor.h>

#include "base/base.h"
#include "base/text.h"

#define TERMINAL_SECONDS 0.2
#define PLAIN_SECONDS 30

struct ak_progress {
    ak_ctx *ctx;
    ak_progress_options o;
    bool    terminal;
    int64_t step;               /* of this epoch */
    int64_t done;               /* steps since opened */
    int64_t timed;              /* of them with a known duration: not the first of an epoch, */
    double  spent;              /* before which a program evaluates; seconds of these */
    bool    fresh;              /* the next step begins an epoch */
    double  last, line;         /* time of the newest step, of the newest line */
    int     width;              /* of the line on the terminal */
    ak_average loss, accuracy;
};

ak_progress *ak_progress_open(ak_ctx *ctx, ak_progress_options options)
{
    if (!AK__GIVEN(NULL, ctx))
        return NULL;
    if (options.views < 0 || !(options.every >= 0) || isinf(options.every) ||
        !isfinite(options.chance)) {
        ak_fail(ctx, AK_ERR_VALUE, "progress: .views = %lld and .every = %g must be >= 0, .every "
                "and .chance = %g finite", (long long)options.views, options.every, options.chance);
        return NULL;
    }
    if (options.epochs < 1 || options.steps < 1 || options.epoch < 0 || options.step < 0) {
        ak_fail(ctx, AK_ERR_VALUE, "progress: %lld epochs (%lld done) of %lld steps; expected at "
                "least 1 of each", (long long)options.epochs, (long long)options.epoch,
                (long long)options.steps);
        return NULL;
    }
    ak_progress *p = ak__ctx_alloc(ctx, sizeof *p);
    if (!p)
        return NULL;
    p->ctx = ctx;
    p->o = options;
    if (!p->o.file)
        p->o.file = stdout;
    const int number = fileno(p->o.file);
    p->terminal = number >= 0 && isatty(number);
    if (!(p->o.every > 0))
        p->o.every = p->terminal ? TERMINAL_SECONDS : PLAIN_SECONDS;
    p->last = p->line = ak__now();
    p->fresh = true;
    p->step = p->o.step;
    return p;
}

/* "1:23", "2:03:04" */
static void add_duration(ak__text *t, double seconds)
{
    const long long s = (long long)(seconds + 0.5);
    if (s >= 3600)
        ak__text_add(t, "%lld:%02lld:%02lld", s / 3600, s / 60 % 60, s % 60);
    else
        ak__text_add(t, "%lld:%02lld", s / 60, s % 60);
}

/* The most that the process held so far; ru_maxrss is in KiB. */
static double process_megabytes(void)
{
    struct rusage use;
    return getrusage(RUSAGE_SELF, &use) == 0 ? (double)use.ru_maxrss * 1024e-6 : 0;
}

static int compose(const ak_progress *p, char *line, size_t size)
{
    const int64_t left = (p->o.epochs - p->o.epoch) * p->o.steps - p->step;
    const double  pace = p->timed ? p->spent / (double)p->timed : 0;
    ak__text      t = ak__text_in(line, size);
    ak__text_add(&t, "epoch %lld/%lld  step %lld/%lld  loss %.3f", (long long)p->o.epoch + 1,
                 (long long)p->o.epochs, (long long)p->step, (long long)p->o.steps,
                 ak_average_get(&p->loss));
    if (p->o.chance > 0)
        ak__text_add(&t, " (chance %.3f)", p->o.chance);
    if (p->accuracy.n)
        ak__text_add(&t, "  acc %.1f %%", 100 * ak_average_get(&p->accuracy));
    if (p->o.views && pace > 0)
        ak__text_add(&t, "  %.0f views/s", (double)p->o.views / pace);
    if (left > 0 && pace > 0) {
        ak__text_add(&t, "  ETA ");
        add_duration(&t, pace * (double)left);
    } else if (left <= 0) {
        ak__text_add(&t, "  took ");
        add_duration(&t, ak_progress_seconds(p));
        ak__text_add(&t, ", %.0f MB", process_megabytes());
    }
    ak__text_add(&t, "  %08x", (unsigned)ak_hash(p->ctx, "~*"));
    return (int)t.n;
}

/* final: the line stays. */
static void show(ak_progress *p, bool final)
{
    char line[400];
    const int width = compose(p, line, sizeof line);
    if (p->terminal)        /* blanks cover what a longer line before has left */
        fprintf(p->o.file, "\r%-*s%s", p->width, line, final ? "\n" : "");
    else
        fprintf(p->o.file, "%s\n", line);
    p->width = final ? 0 : width;
    fflush(p->o.file);
    p->line = ak__now();
}

void ak_progress_step(ak_progress *p, double loss, double accuracy)
{
    if (!AK__GIVEN(NULL, p))
        return;
    const double now = ak__now();
    if (p->fresh) {
        p->step = p->done ? 0 : p->o.step;
        p->loss = p->accuracy = (ak_average){ 0, 0 };
        p->fresh = false;
    } else {
        p->spent += now - p->last;
        p->timed++;
    }
    p->last = now;
    p->step++;
    p->done++;
    ak_average_add(&p->loss, loss);
    if (!isnan(accuracy))
        ak_average_add(&p->accuracy, accuracy);
    if (now - p->line >= p->o.every && p->step < p->o.steps)
        show(p, false);
}

void ak_progress_epoch(ak_progress *p)
{
    if (!AK__GIVEN(NULL, p))
        return;
    if (p->fresh) {             /* resumed behind the last step of an epoch: it was shown then */
        if (!p->done && p->o.step == p->o.steps) {
            p->o.epoch++;
            p->o.step = 0;
        }
        return;
    }
    show(p, true);
    p->o.epoch++;
    p->fresh = true;
}

double ak_progress_loss(const ak_progress *p)
{
    if (!AK__GIVEN(NULL, p))
        return (double)NAN;
    return ak_average_get(&p->loss);
}

double ak_progress_accuracy(const ak_progress *p)
{
    if (!AK__GIVEN(NULL, p))
        return (double)NAN;
    return ak_average_get(&p->accuracy);
}

double ak_progress_seconds(const ak_progress *p)
{
    if (!AK__GIVEN(NULL, p))
        return (double)NAN;
    return p && p->timed ? p->spent / (double)p->timed * (double)p->done : 0;
}
