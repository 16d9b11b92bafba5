/* SPDX-License-Identifier: Apache-2.0 */
/* Features of a whole data set: the encoder in evaluation mode, batch after batch, nothing kept but
 * the numbers. They can be hundreds of megabytes, so they have their own lifetime. */
#include <math.h>
#include <string.h>

#include <akin/autograd.h>

#include "base/base.h"
#include "base/text.h"
#include "eval/eval.h"
#include "eval/resample.h"
#include "tensor/kernels/kernels.h"
#include "tensor/tensor_internal.h"

#define DEFAULT_BATCH 500

typedef struct feature_store {
    ak_features public;
    ak_real    *x;
    int32_t    *label;
} feature_store;

static void store_free(void *obj)
{
    feature_store *s = obj;
    ak__free(s->x);
    ak__free(s->label);
    s->x = NULL;
    s->label = NULL;
    s->public.x = NULL;
    s->public.label = NULL;
    s->public.n = 0;
}

void ak_features_close(ak_features *f)
{
    if (f)
        store_free(f);      /* `public` is the first member; the shell stays with the context */
}

/* A store for n items with labels; rows follow with store_rows, when d is known. */
static feature_store *store_new(ak_ctx *ctx, int64_t n, const char *what)
{
    feature_store *s = ak__ctx_alloc(ctx, sizeof *s);
    if (!s || !ak__at_close(ctx, store_free, s))
        return NULL;
    s->public.ctx = ctx;
    s->public.n = n;
    s->public.what = ak__ctx_strdup(ctx, what);
    s->label = ak__malloc((size_t)n * sizeof *s->label);
    if (!s->label)
        ak__fail_memory(ctx, (size_t)n * sizeof *s->label);
    s->public.label = s->label;
    return s->label && s->public.what ? s : NULL;
}

static bool store_rows(feature_store *s, int64_t d)
{
    const size_t bytes = (size_t)s->public.n * (size_t)d * sizeof *s->x;
    s->x = ak__malloc(bytes ? bytes : 1);
    s->public.x = s->x;
    s->public.d = d;
    if (!s->x)
        ak__fail_memory(s->public.ctx, bytes);
    return s->x != NULL;
}

static bool store_label(feature_store *s, int64_t i, int32_t label)
{
    if (label < 0) {
        ak_fail(s->public.ctx, AK_ERR_VALUE,
                "features: item %lld has label %d; every item needs a label >= 0\n"
                "    hint: ak_dataset_subset leaves items out", (long long)i, (int)label);
        return false;
    }
    s->label[i] = label;
    if (label >= s->public.classes)
        s->public.classes = (int64_t)label + 1;
    return true;
}

/* Does the encoder read the main field alone, and is that a tensor without lengths? Then nothing
 * else has to be fetched. */
static bool one_tensor(const ak_dataset *ds, const char *field)
{
    ak_field f;
    ak_field_kind first = 0;
    for (int i = 0; !field && ak_dataset_field_at(ds, i, &f); i++) {
        if (!first && f.kind <= AK_FIELD_TOKENS)
            first = f.kind;
        if (strchr(f.name, '/'))
            return false;
    }
    return first == AK_FIELD_PICTURE || first == AK_FIELD_VECTOR;
}

static ak_inputs inputs_of(ak_dataset *ds, const ak_features_options *o, int64_t start,
                           int64_t count)
{
    ak_batch b;
    if (o->inputs)
        return o->inputs(ds, start, count, o->user);
    if (one_tensor(ds, o->field))
        return (ak_inputs){ .x = ak_dataset_batch(ds, start, count) };
    if (!ak_dataset_get(ds, start, count, &b))
        return (ak_inputs){ .x = &ak__poison };
    return ak_batch_inputs(&b, o->field, 0);
}

/* The values themselves; poison after an error, if they are not rows of one length. */
static ak_tensor *raw_values(ak_ctx *ctx, const ak_inputs *in)
{
    if (ak_error(ctx) == AK_OK && (!in->x || in->lengths))
        ak_fail(ctx, AK_ERR_VALUE, "features: %s are no rows of one length: they need an encoder",
                in->x ? "sequences" : "tokens");
    return ak_error(ctx) == AK_OK ? in->x : &ak__poison;
}

/* Items start.. through the encoder (NULL: as they are) into the store. */
static bool store_batch(feature_store *s, ak_module *enc, ak_dataset *ds,
                        const ak_features_options *o, int64_t start, int64_t count)
{
    ak_ctx *ctx = s->public.ctx;
    const ak_inputs in = inputs_of(ds, o, start, count);
    ak_tensor *y = ak_flatten(enc ? ak_forward_with(enc, in) : raw_values(ctx, &in));
    if (ak_is_poison(y))
        return false;
    if (y->shape.n != 2 || y->shape.dims[0] != count) {
        char text[AK_SHAPE_TEXT];
        ak_fail(ctx, AK_ERR_SHAPE,
                "features: the encoder made %s of %lld items; expected [%lld, D]",
                ak_shape_text(y->shape, text), (long long)count, (long long)count);
        return false;
    }
    if (!s->x && !store_rows(s, y->shape.dims[1]))
        return false;
    if (y->shape.dims[1] != s->public.d) {
        ak_fail(ctx, AK_ERR_SHAPE, "features: the encoder made rows of %lld numbers, then of %lld",
                (long long)s->public.d, (long long)y->shape.dims[1]);
        return false;
    }
    memcpy(s->x + start * s->public.d, y->data, (size_t)y->size * sizeof *y->data);
    return true;
}

static bool store_is_finite(const feature_store *s)
{
    return ak__rows_finite(s->public.ctx, "features", "item", s->x, s->public.n, s->public.d);
}

ak_features *ak_features_open(ak_module *enc, ak_dataset *ds, ak_features_options options)
{
    if (!AK__GIVEN(NULL, ds))
        return NULL;
    ak_ctx *ctx = ak_dataset_ctx(ds);
    if (ak_error(ctx) != AK_OK)
        return NULL;
    const int64_t n = ak_dataset_size(ds), batch = options.batch ? options.batch : DEFAULT_BATCH;
    if (batch < 1) {
        ak_fail(ctx, AK_ERR_VALUE, "features: batch %lld; expected at least 1", (long long)batch);
        return NULL;
    }
    if (!enc && options.inputs) {
        ak_fail(ctx, AK_ERR_VALUE, "features: .inputs without an encoder that takes them");
        return NULL;
    }
    if (options.field && options.inputs) {
        ak_fail(ctx, AK_ERR_VALUE, "features: .field \"%.60s\" and .inputs: which is it?",
                options.field);
        return NULL;
    }
    char what[80] = "raw values";
    if (enc)
        ak__format(what, sizeof what, "eval-mode output of %.40s", ak_module_name(enc));
    feature_store *s = store_new(ctx, n, what);
    if (!s)
        return NULL;
    s->public.class_names = ak_dataset_class_names(ds);
    for (int64_t i = 0; i < n; i++)
        if (!store_label(s, i, ak_dataset_label(ds, i)))
            return NULL;

    const bool training = ak_is_training(ctx);
    bool good = true;
    ak_train_mode(ctx, false);
    ak_no_grad_begin(ctx);
    for (int64_t start = 0; start < n && good; start += batch) {
        const ak_mark mark = ak_mark_step(ctx);
        good = store_batch(s, enc, ds, &options, start, start + batch < n ? batch : n - start);
        good = ak_release(ctx, mark) == AK_OK && good;
    }
    ak_no_grad_end(ctx);
    ak_train_mode(ctx, training);
    good = good && store_is_finite(s);
    if (!good)
        store_free(s);
    return good ? &s->public : NULL;
}

ak_features *ak_features_from(const ak_tensor *x, const int32_t *label, const char *what)
{
    if (!AK__TENSOR(NULL, x) || !AK__GIVEN(x->ctx, label))
        return NULL;
    if (ak_error(x->ctx) != AK_OK)
        return NULL;
    if (x->shape.n < 1 || x->size == 0) {
        char text[AK_SHAPE_TEXT];
        ak_fail(x->ctx, AK_ERR_SHAPE, "features: x is %s; expected [N, D] with N, D >= 1",
                ak_shape_text(x->shape, text));
        return NULL;
    }
    const int64_t n = x->shape.dims[0];
    if (!ak__rows_finite(x->ctx, "features", "item", x->data, n, x->size / n))
        return NULL;
    feature_store *s = store_new(x->ctx, n, what ? what : "given features");
    if (!s)
        return NULL;
    for (int64_t i = 0; i < n; i++)
        if (!store_label(s, i, label[i]))
            return NULL;
    if (!store_rows(s, x->size / n))
        return NULL;
    memcpy(s->x, x->data, (size_t)x->size * sizeof *x->data);
    return &s->public;
}

/* ---- shared by the measures ------------------------------------------------------------------ */

ak_eval_result ak__eval_nothing(void)
{
    return (ak_eval_result){ .accuracy = (double)NAN, .lo = (double)NAN, .hi = (double)NAN };
}

/* The first class that has one name in `a` and another in `b`; -1 if there is none. Where one of
 * them has more classes or knows no names, the rest cannot be compared. */
static int64_t other_name(const ak_features *a, const ak_features *b)
{
    for (int64_t c = 0; a->class_names && b->class_names; c++) {
        if (!a->class_names[c] || !b->class_names[c])
            break;
        if (strcmp(a->class_names[c], b->class_names[c]) != 0)
            return c;
    }
    return -1;
}

bool ak__eval_fit(const char *who, const ak_features *train, const ak_features *test)
{
    if (!train || !test || ak_error(train->ctx) != AK_OK)
        return false;
    if (train->ctx != test->ctx) {
        ak_fail(train->ctx, AK_ERR_CONTEXT, "%s: training and test features belong to different "
                "contexts", who);
        return false;
    }
    if (!train->x || !test->x) {
        ak_fail(train->ctx, AK_ERR_STATE, "%s: the %s features have been closed", who,
                train->x ? "test" : "training");
        return false;
    }
    if (train->d != test->d) {
        ak_fail(train->ctx, AK_ERR_SHAPE, "%s: training features are [%lld,%lld], test features "
                "[%lld,%lld]; rows must be equally long", who, (long long)train->n,
                (long long)train->d, (long long)test->n, (long long)test->d);
        return false;
    }
    const int64_t c = other_name(train, test);
    if (c >= 0) {
        ak_fail(train->ctx, AK_ERR_VALUE, "%s: class %lld is \"%s\" in the training set and \"%s\" "
                "in the test set\n    hint: give both the same names: .classes = "
                "ak_dataset_class_names(train) in ak_table_options", who, (long long)c,
                train->class_names[c], test->class_names[c]);
        return false;
    }
    return ak__rows_finite(train->ctx, who, "training item", train->x, train->n, train->d) &&
           ak__rows_finite(test->ctx, who, "test item", test->x, test->n, test->d);
}

void ak__eval_score(const uint8_t *correct, int64_t n, ak_eval_result *r)
{
    int64_t right = 0;
    for (int64_t i = 0; i < n; i++)
        right += correct[i];
    const ak_measure m = ak__share(right, n, AK__DEFAULT_LEVEL);
    r->accuracy = m.value;
    r->lo = m.lo;
    r->hi = m.hi;
    r->n_test = n;
}

bool ak__eval_no_features(ak_ctx *ctx, const char *who, ak_features_options o)
{
    if (!o.batch && !o.inputs && !o.field && !o.user)
        return true;
    ak_fail(ctx, AK_ERR_VALUE, "%s: .features is given, but the features are made already\n"
            "    hint: hand it to ak_features_open", who);
    return false;
}

bool ak__eval_features(ak_module *enc, ak_dataset *train, ak_dataset *test, ak_features_options o,
                       ak_features **a, ak_features **b)
{
    *a = ak_features_open(enc, train, o);
    *b = *a ? ak_features_open(enc, test, o) : NULL;
    if (*b)
        return true;
    ak_features_close(*a);
    *a = NULL;
    return false;
}
