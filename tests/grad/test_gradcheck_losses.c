/* SPDX-License-Identifier: Apache-2.0 */
/* Every loss of the registry, every sample, fused and composed: backward against central
 * differences, in double, for embeddings and the log scale. Fused losses are also tried in small
 * tiles, and behind another op, where backward gets fresh memory. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include <assert.h>

#include <akin/autograd.h>
#include <akin/losses.h>
#include <akin/ops.h>

#include "losses/engine/walk.h"

#define TOLERANCE 1e-6
#define MAX_CASES 2000

enum form { FUSED, FUSED_BEHIND, COMPOSED, FORMS };

typedef struct loss_case {
    int     loss, sample, form;
    int64_t tile;
} loss_case;

static int sample_count(const ak_loss_info *l)
{
    int n = 0;
    while (!(l->samples[n].flags & AK_SAMPLE_END))
        n++;
    return n;
}

ParameterizedTestParameters(gradcheck, losses)
{
    static loss_case cases[MAX_CASES];
    static const int64_t tiles[] = { 0, 1, 3 };
    size_t n = 0;
    for (int i = 0; ak_loss_at(i); i++) {
        for (int j = 0; j < sample_count(ak_loss_at(i)); j++) {
            assert(n + 5 <= MAX_CASES);         /* or some would not be tried: raise it */
            for (int t = 0; t < 3; t++)
                cases[n++] = (loss_case){ i, j, t == 1 ? FUSED_BEHIND : FUSED, tiles[t] };
            cases[n++] = (loss_case){ i, j, FUSED_BEHIND, 0 };
            cases[n++] = (loss_case){ i, j, COMPOSED, 0 };
        }
    }
    return cr_make_param_array(loss_case, cases, n);
}

static void be_silent(void *user, ak_log_level level, const char *message)
{
    (void)user;
    (void)level;
    (void)message;
}

static ak_tensor *run_case(ak_tensor *const *in, int n, void *user)
{
    const loss_case *c = user;
    const ak_loss_info *l = ak_loss_at(c->loss);
    ak_tensor *moved[AK_MAX_IN];
    for (int i = 0; i < n; i++)
        moved[i] = c->form == FUSED_BEHIND ? ak_scale(in[i], 1) : in[i];
    return (c->form == COMPOSED ? l->composed : l->run)(moved, n, &l->samples[c->sample]);
}

ParameterizedTest(loss_case *c, gradcheck, losses)
{
    const ak_loss_info *l = ak_loss_at(c->loss);
    const ak_sample *s = &l->samples[c->sample];
    ak_ctx *ctx = ak_open((ak_options){ .seed = 1, .quiet = true });
    ak_on_error(ctx, NULL, NULL);
    ak_on_log(ctx, be_silent, NULL);
    ak__walk_tile = c->tile;
    for (uint64_t seed = 1; seed <= 2; seed++) {
        ak_tensor *in[AK_MAX_IN];
        ak_gradcheck r = { 0 };
        ak_sample_draw(ctx, s, s->n_in, seed, in);
        const ak_status st = ak_gradcheck_fn(ctx, run_case, c, in, s->n_in, &r);
        cr_expect_eq(st, AK_OK, "%s sample %d form %d: %s", l->name, c->sample, c->form,
                     ak_error_message(ctx));
        cr_expect(r.worst <= TOLERANCE,
                  "%s sample %d form %d tile %lld: operand %d element %lld: backward %.12g, "
                  "differences %.12g, relative error %.3g", l->name, c->sample, c->form,
                  (long long)c->tile, r.operand, (long long)r.element, r.analytic, r.numeric,
                  r.worst);
    }
    cr_expect_eq(ak_close(ctx), AK_OK);
}

/* A check that cannot fail proves nothing: every loss has samples, and gradients that are not 0. */
Test(gradcheck_losses, samples_are_many)
{
    for (int i = 0; ak_loss_at(i); i++) {
        cr_expect_geq(sample_count(ak_loss_at(i)), 5, "%s", ak_loss_at(i)->name);
        cr_expect_eq(ak_loss_find(ak_loss_at(i)->name), ak_loss_at(i));
    }
    cr_expect_null(ak_loss_find("no such loss"));
}
