/* SPDX-License-Identifier: Apache-2.0 */
/* Weights and checkpoints in one file format: named blocks with a checksum (docs/FORMATS.md). */
#include <akin/checkpoint.h>
#include <akin/tensor.h>

#include "base/base.h"
#include "base/state.h"
#include "base/text.h"
#include "io/array.h"
#include "io/checkpoint.h"
#include "io/file.h"
#include "tensor/tensor_internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <zlib.h>

/* Numbers are copied between memory and file as they are. */
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "checkpoints are little-endian: this machine needs conversions here"
#endif

#define VERSION 1
#define HEAD_BYTES 40
#define FOOT_BYTES 8
#define CONTEXT_BLOCK "context"

static const unsigned char magic[8] = { 0x89, 'A', 'K', 'I', 'N', '\r', '\n', 0x1a };

enum { WEIGHTS = 1, WHOLE_STATE = 2 };              /* contents */
enum { TENSOR_F4 = 1, TENSOR_F8 = 2, STATE = 3 };   /* types of blocks */
#define TENSOR_TYPE (sizeof(ak_real) == 8 ? TENSOR_F8 : TENSOR_F4)

typedef struct block {
    uint64_t    type, length;       /* length of the name */
    const char *name;               /* no zero at its end */
    ak_shape    shape;
    const unsigned char *data;
    uint64_t    bytes;
} block;

/* ---- writing --------------------------------------------------------------------------------- */

typedef struct output {
    ak__writer file;
    uLong      crc;
} output;

static void put(output *out, const void *bytes, size_t n)
{
    const unsigned char *at = bytes;
    for (size_t left = n; left; ) {
        const uInt part = left > 1u << 30 ? 1u << 30 : (uInt)left;
        out->crc = crc32(out->crc, at, part);
        at += part;
        left -= part;
    }
    ak__writer_put(&out->file, bytes, n);
}

static void put_u64(output *out, uint64_t x)
{
    unsigned char bytes[8], *at = bytes;
    ak__put_u64(&at, x);
    put(out, bytes, sizeof bytes);
}

static size_t block_bytes(size_t name, int axes, size_t data)
{
    return 8 * (4 + (size_t)axes) + name + data;
}

static void put_block_head(output *out, uint64_t type, const char *name, ak_shape shape,
                           size_t data)
{
    put_u64(out, type);
    put_u64(out, strlen(name));
    put(out, name, strlen(name));
    put_u64(out, (uint64_t)shape.n);
    for (int i = 0; i < shape.n; i++)
        put_u64(out, (uint64_t)shape.dims[i]);
    put_u64(out, data);
}

/* The context's own block: seed and counter of streams. */
#define CONTEXT_BYTES 16

static bool put_state(output *out, const ak__state *s)
{
    const size_t n = s->ops->size(s->obj);
    unsigned char *bytes = ak__malloc(n ? n : 1);
    if (!bytes) {
        ak__fail_memory(out->file.ctx, n);
        return false;
    }
    s->ops->save(s->obj, bytes);
    put_block_head(out, STATE, s->name, AK_SCALAR, n);
    put(out, bytes, n);
    ak__free(bytes);
    return true;
}

/* Blocks and bytes that a file will have. */
static void measure(ak_ctx *ctx, const char *pattern, int contents, uint64_t *blocks,
                    uint64_t *bytes)
{
    const ak_tensor *t;
    *blocks = 0;
    *bytes = HEAD_BYTES + FOOT_BYTES;
    for (int64_t i = 0; (t = ak_param_at(ctx, i)) != NULL; i++)
        if (ak_match(pattern, t->name)) {
            ++*blocks;
            *bytes += block_bytes(strlen(t->name), t->shape.n, (size_t)t->size * sizeof(ak_real));
        }
    if (contents != WHOLE_STATE)
        return;
    ++*blocks;
    *bytes += block_bytes(strlen(CONTEXT_BLOCK), 0, CONTEXT_BYTES);
    for (const ak__state *s = ak__state_first(ctx); s; s = s->next) {
        ++*blocks;
        *bytes += block_bytes(strlen(s->name), 0, s->ops->size(s->obj));
    }
}

/* A file of NaN is written as it is asked for, but not without a word: it is the last chance to
 * keep the good one that it replaces. */
static void warn_of_numbers(ak_ctx *ctx, const char *path, const char *pattern, int contents)
{
    const ak_tensor *t, *first = NULL;
    int64_t tensors = 0, count = 0;
    for (int64_t i = 0; (t = ak_param_at(ctx, i)) != NULL; i++) {
        const int64_t bad = ak_match(pattern, t->name)
                                ? ak__count_not_finite(t->data, t->size, NULL) : 0;
        if (bad && tensors++ == 0) {
            first = t;
            count = bad;
        }
    }
    if (first)
        ak_log_message(ctx, AK_LOG_WARNING, "%s: %" PRId64 " of the tensors saved hold numbers "
                       "that are not finite, the first is \"%s\" (%" PRId64 " of %" PRId64
                       " numbers)", path, tensors, first->name, count, first->size);
    if (contents != WHOLE_STATE)
        return;
    for (const ak__state *s = ak__state_first(ctx); s; s = s->next) {
        const char   *where = "";
        const int64_t bad = s->ops->not_finite ? s->ops->not_finite(s->obj, &where) : 0;
        if (bad)
            ak_log_message(ctx, AK_LOG_WARNING, "%s: the state of \"%s\" holds %" PRId64 " numbers "
                           "that are not finite, the first of \"%s\"", path, s->name, bad, where);
    }
}

static bool put_states(output *out, ak_ctx *ctx)
{
    put_block_head(out, STATE, CONTEXT_BLOCK, AK_SCALAR, CONTEXT_BYTES);
    put_u64(out, ctx->seed);
    put_u64(out, ctx->next_stream);
    for (const ak__state *s = ak__state_first(ctx); s; s = s->next)
        if (!put_state(out, s))
            return false;
    return true;
}

static bool begin_file(ak_ctx *ctx, const char *path, output *out, int contents, uint64_t blocks,
                       uint64_t bytes)
{
    *out = (output){ .crc = crc32(0, NULL, 0) };
    if (ak__writer_open(ctx, &out->file, path) != AK_OK)
        return false;
    put(out, magic, sizeof magic);
    put_u64(out, VERSION);
    put_u64(out, (uint64_t)contents);
    put_u64(out, blocks);
    put_u64(out, bytes);
    return true;
}

static ak_status write_file(ak_ctx *ctx, const char *path, const char *pattern, int contents)
{
    if (ak_error(ctx) != AK_OK)
        return ak_error(ctx);
    if (ak__pattern_params(ctx, path, pattern, true) < 0)
        return ak_error(ctx);
    uint64_t blocks, bytes;
    measure(ctx, pattern, contents, &blocks, &bytes);
    if (!blocks)
        return ak_fail(ctx, AK_ERR_NOT_FOUND, "%s: no parameter fits \"%s\": nothing to save",
                       path ? path : "(no path)", pattern);
    output out;
    if (!begin_file(ctx, path, &out, contents, blocks, bytes))
        return ak_error(ctx);
    const ak_tensor *t;
    for (int64_t i = 0; (t = ak_param_at(ctx, i)) != NULL; i++) {
        if (!ak_match(pattern, t->name))
            continue;
        const size_t n = (size_t)t->size * sizeof *t->data;
        put_block_head(&out, TENSOR_TYPE, t->name, t->shape, n);
        put(&out, t->data, n);
    }
    if (contents == WHOLE_STATE && !put_states(&out, ctx)) {
        ak__writer_abort(&out.file);
        return ak_error(ctx);
    }
    put_u64(&out, out.crc);
    warn_of_numbers(ctx, path, pattern, contents);
    return ak__writer_commit(&out.file);
}

ak_status ak__checkpoint_write_arrays(ak_ctx *ctx, const char *path, const ak_array *arrays,
                                      int64_t n)
{
    output   out;
    uint64_t bytes = HEAD_BYTES + FOOT_BYTES;
    for (int64_t i = 0; i < n; i++)
        bytes += block_bytes(strlen(arrays[i].name), arrays[i].shape.n,
                             (size_t)arrays[i].size * ak_type_size(arrays[i].type));
    if (!begin_file(ctx, path, &out, WEIGHTS, (uint64_t)n, bytes))
        return ak_error(ctx);
    for (int64_t i = 0; i < n; i++) {
        const ak_array *a = &arrays[i];
        const size_t    size = (size_t)a->size * ak_type_size(a->type);
        put_block_head(&out, a->type == AK_TYPE_F64 ? TENSOR_F8 : TENSOR_F4, a->name, a->shape,
                       size);
        put(&out, a->data, size);
    }
    put_u64(&out, out.crc);
    return ak__writer_commit(&out.file);
}

ak_status ak_save(ak_ctx *ctx, const char *path)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, path))
        return ak__refused(ctx);
    return write_file(ctx, path, "*", WEIGHTS);
}

ak_status ak_save_some(ak_ctx *ctx, const char *path, const char *pattern)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, path) || !AK__GIVEN(ctx, pattern))
        return ak__refused(ctx);
    return write_file(ctx, path, pattern, WEIGHTS);
}

ak_status ak_checkpoint_save(ak_ctx *ctx, const char *path)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, path))
        return ak__refused(ctx);
    if (ctx->status == AK_OK && ctx->accumulate.of)
        return ak_fail(ctx, AK_ERR_STATE, "checkpoint_save: gradients of %" PRId64 " of %" PRId64
                       " micro-batches have been added up, which a checkpoint does not hold\n"
                       "    hint: save after ak_accumulate_end() and ak_optim_step()",
                       ctx->accumulate.done, ctx->accumulate.of);
    return write_file(ctx, path, "~*", WHOLE_STATE);
}

/* ---- reading: from bytes to a sorted list of blocks ------------------------------------------ */

typedef struct input {
    ak_ctx     *ctx;
    const char *path;               /* for messages */
    const unsigned char *data;      /* [size] the file */
    size_t      size;
    uint64_t    contents, n;
    block      *blocks;             /* [n] sorted by name */
    char       *name;               /* room for the longest name as a string */
} input;

static ak_status damaged(const input *in, const char *what)
{
    return ak_fail(in->ctx, AK_ERR_FORMAT, "%s: %s\n    hint: the file is damaged or was not "
                   "written by this library; nothing has been loaded", in->path, what);
}

static ak_status check_head(input *in)
{
    const size_t size = in->size;
    if (size < sizeof magic || memcmp(in->data, magic, sizeof magic) != 0)
        return damaged(in, "not a file of weights or a checkpoint");
    if (size < HEAD_BYTES + FOOT_BYTES)
        return damaged(in, "shortened: its head is incomplete");
    const unsigned char *at = in->data + sizeof magic;
    const uint64_t version = ak__get_u64(&at);
    if (version != VERSION)
        return ak_fail(in->ctx, AK_ERR_FORMAT, "%s: format version %" PRIu64 ", this library reads "
                       "version %d", in->path, version, VERSION);
    in->contents = ak__get_u64(&at);
    in->n = ak__get_u64(&at);
    const uint64_t bytes = ak__get_u64(&at);
    if (bytes != size)
        return ak_fail(in->ctx, AK_ERR_FORMAT, "%s: %s: it should have %" PRIu64 " bytes and has "
                       "%zu", in->path, size < bytes ? "shortened" : "damaged", bytes, size);
    uLong crc = crc32(0, NULL, 0);
    for (size_t done = 0; done < size - FOOT_BYTES; ) {
        const size_t left = size - FOOT_BYTES - done;
        const uInt part = left > 1u << 30 ? 1u << 30 : (uInt)left;
        crc = crc32(crc, in->data + done, part);
        done += part;
    }
    at = in->data + size - FOOT_BYTES;
    if (ak__get_u64(&at) != crc)
        return damaged(in, "its checksum does not fit its content");
    if (in->n > (size - HEAD_BYTES - FOOT_BYTES) / block_bytes(0, 0, 0))
        return damaged(in, "more blocks than there is room for");
    if (in->contents != WEIGHTS && in->contents != WHOLE_STATE)
        return damaged(in, "unknown contents");
    return AK_OK;
}

/* One block from *at, which moves behind it. False: something does not fit into [*at, end). */
static bool parse_block(const unsigned char **at, const unsigned char *end, block *b)
{
    if (end - *at < 16)
        return false;
    b->type = ak__get_u64(at);
    b->length = ak__get_u64(at);
    if (b->type < TENSOR_F4 || b->type > STATE || b->length > (uint64_t)(end - *at))
        return false;
    b->name = (const char *)*at;
    if (memchr(b->name, 0, (size_t)b->length))
        return false;
    *at += b->length;
    if (end - *at < 8)
        return false;
    const uint64_t axes = ak__get_u64(at);
    if (axes > AK_MAX_DIMS || (uint64_t)(end - *at) < 8 * (axes + 1))
        return false;
    b->shape = (ak_shape){ .n = (int)axes };
    uint64_t numbers = 1;
    for (uint64_t i = 0; i < axes; i++) {
        const uint64_t dim = ak__get_u64(at);
        if (dim > INT64_MAX || (dim && numbers > INT64_MAX / dim))
            return false;
        b->shape.dims[i] = (int64_t)dim;
        numbers *= dim;
    }
    b->bytes = ak__get_u64(at);
    if (b->bytes > (uint64_t)(end - *at))
        return false;
    if (b->type != STATE &&
        (numbers > INT64_MAX / 8 || b->bytes != numbers * (b->type == TENSOR_F8 ? 8 : 4)))
        return false;
    b->data = *at;
    *at += b->bytes;
    return true;
}

static int compare_names(const char *a, uint64_t na, const char *b, uint64_t nb)
{
    const int order = memcmp(a, b, na < nb ? na : nb);
    return order ? order : na < nb ? -1 : na > nb;
}

/* Tensors first, states behind them, each by name: a parameter may be called like a state. */
static int compare_blocks(const void *a, const void *b)
{
    const block *x = a, *y = b;
    const int kinds = (x->type == STATE) - (y->type == STATE);
    return kinds ? kinds : compare_names(x->name, x->length, y->name, y->length);
}

static ak_status parse_blocks(input *in)
{
    const size_t room = (size_t)(in->n ? in->n : 1) * sizeof *in->blocks;
    in->blocks = ak__malloc(room);
    if (!in->blocks)
        return ak__fail_memory(in->ctx, room);
    const unsigned char *at = in->data + HEAD_BYTES;
    const unsigned char *const end = in->data + in->size - FOOT_BYTES;
    uint64_t longest = 0;
    for (uint64_t i = 0; i < in->n; i++) {
        if (!parse_block(&at, end, &in->blocks[i]))
            return damaged(in, "a block does not fit into the file");
        if (in->blocks[i].length > longest)
            longest = in->blocks[i].length;
    }
    in->name = ak__malloc((size_t)longest + 1);
    if (!in->name)
        return ak__fail_memory(in->ctx, (size_t)longest + 1);
    if (at != end)
        return damaged(in, "there are bytes behind the last block");
    qsort(in->blocks, (size_t)in->n, sizeof *in->blocks, compare_blocks);
    for (uint64_t i = 1; i < in->n; i++)
        if (compare_blocks(&in->blocks[i - 1], &in->blocks[i]) == 0)
            return damaged(in, "two blocks have the same name");
    return AK_OK;
}

static const block *find_block(const input *in, const char *name, bool state)
{
    const block wanted = { .type = state ? STATE : TENSOR_TYPE, .name = name,
                           .length = strlen(name) };
    return in->n ? bsearch(&wanted, in->blocks, (size_t)in->n, sizeof *in->blocks, compare_blocks)
                 : NULL;
}

/* ---- reading: does it fit? ------------------------------------------------------------------- */

/* Names gathered for a message. */
typedef struct name_list { char buf[256]; ak__text text; int64_t n; } name_list;

static void list_name(name_list *l, const char *name, uint64_t length)
{
    if (l->n == 0)
        l->text = AK__TEXT(l->buf);
    if (l->n++ < 3)
        ak__text_add(&l->text, "%s%.*s%s", l->n > 1 ? ", " : "", (int)(length < 64 ? length : 64),
                     name, length > 64 ? ".." : "");
}

static const char *listed(const name_list *l)
{
    return l->n ? l->buf : "-";
}

/* A block's name as a string for ak_match and look-ups, until the next call. */
static const char *name_text(const input *in, const block *b)
{
    memcpy(in->name, b->name, (size_t)b->length);
    in->name[b->length] = '\0';
    return in->name;
}

/* Names that a pattern of ak_load_some may fit: those of this program, then those of the file,
 * since "*,!head/..." leaves out what the program has not made. */
typedef struct offered_names {
    ak_ctx *ctx;
    int64_t here, there;
    const char **file;              /* [there] */
} offered_names;

static const char *offered_name(void *of, int64_t i)
{
    const offered_names *o = of;
    if (i < o->here)
        return ak_param_at(o->ctx, i)->name;
    return i - o->here < o->there ? o->file[i - o->here] : NULL;
}

static ak_status check_pattern(const input *in, const char *pattern)
{
    offered_names o = { .ctx = in->ctx };
    while (ak_param_at(in->ctx, o.here))
        o.here++;
    o.file = ak__step_alloc(in->ctx, ((size_t)in->n + 1) * sizeof *o.file);
    for (uint64_t i = 0; o.file && i < in->n; i++) {
        const block *b = &in->blocks[i];
        if (b->type == STATE)
            continue;
        char *name = ak__step_alloc(in->ctx, (size_t)b->length + 1);
        if (!name)
            return ak_error(in->ctx);
        memcpy(name, b->name, (size_t)b->length);
        name[b->length] = '\0';
        o.file[o.there++] = name;
    }
    if (o.file)
        ak__pattern_count(in->ctx, in->path, pattern, (ak__names){
            .what = "parameter of this program or of the file", .at = offered_name, .of = &o });
    return ak_error(in->ctx);
}

static ak_status check_names(const input *in, const char *pattern, bool whole)
{
    name_list missing = { 0 }, extra = { 0 };
    const ak_tensor *t;
    for (int64_t i = 0; (t = ak_param_at(in->ctx, i)) != NULL; i++) {
        if (!ak_match(pattern, t->name))
            continue;
        if (!find_block(in, t->name, false))
            list_name(&missing, t->name, strlen(t->name));
    }
    for (uint64_t i = 0; i < in->n; i++) {
        const block *b = &in->blocks[i];
        if (b->type != STATE && ak_match(pattern, name_text(in, b)) &&
            !ak_param_find(in->ctx, in->name))
            list_name(&extra, b->name, b->length);
    }
    if (missing.n || extra.n)
        return ak_fail(in->ctx, AK_ERR_NOT_FOUND, "%s: %" PRId64 " parameters of this program are "
                       "missing in the file (%s%s), %" PRId64 " of the file are not in this "
                       "program (%s%s)\n    hint: ak_load_some(ctx, path, \"encoder/*\") loads a "
                       "part",
                       in->path, missing.n, listed(&missing),
                       missing.n > 3 ? ", .." : "", extra.n, listed(&extra),
                       extra.n > 3 ? ", .." : "");
    return whole ? AK_OK : check_pattern(in, pattern);     /* a run may have state alone */
}

/* Does every number stay finite when it is converted? */
static bool fits_real(const block *b)
{
    for (uint64_t i = 0; b->type == TENSOR_F8 && i < b->bytes / 8; i++) {
        double x;
        memcpy(&x, b->data + 8 * i, sizeof x);
        if (isfinite(x) && !isfinite((ak_real)x))
            return false;
    }
    return true;
}

static ak_status check_tensors(const input *in, const char *pattern, bool whole)
{
    if (check_names(in, pattern, whole) != AK_OK)
        return ak_error(in->ctx);
    const ak_tensor *t;
    for (int64_t i = 0; (t = ak_param_at(in->ctx, i)) != NULL; i++) {
        if (!ak_match(pattern, t->name))
            continue;
        const block *b = find_block(in, t->name, false);
        char here[AK_SHAPE_TEXT], there[AK_SHAPE_TEXT];
        if (!ak_shape_equal(b->shape, t->shape))
            return ak_fail(in->ctx, AK_ERR_SHAPE, "%s: %s is %s in the file and %s in this program",
                           in->path, t->name, ak_shape_text(b->shape, there),
                           ak_shape_text(t->shape, here));
        if (!fits_real(b))
            return ak_fail(in->ctx, AK_ERR_VALUE, "%s: %s holds a double that no float can hold "
                           "(beyond 3.4e38); load it in the build with doubles", in->path,
                           t->name);
        if (b->type != TENSOR_TYPE && whole)
            return ak_fail(in->ctx, AK_ERR_FORMAT, "%s: %s has numbers of %d bytes, this build of "
                           "the library %zu: a run can not be resumed in the other build\n    "
                           "hint: ak_load converts weights", in->path, t->name,
                           b->type == TENSOR_F8 ? 8 : 4, sizeof(ak_real));
    }
    return AK_OK;
}

static ak_status check_context(const input *in)
{
    const block *b = find_block(in, CONTEXT_BLOCK, true);
    if (!b || b->bytes != CONTEXT_BYTES)
        return damaged(in, "the state of the random numbers is missing");
    const unsigned char *at = b->data;
    const uint64_t seed = ak__get_u64(&at);
    if (seed != in->ctx->seed)
        return ak_fail(in->ctx, AK_ERR_VALUE, "%s: the run was made with seed %" PRIu64 ", this "
                       "context has seed %" PRIu64 "\n    hint: .seed in ak_open or AK_SEED",
                       in->path, seed, in->ctx->seed);
    return AK_OK;
}

static ak_status check_states(const input *in)
{
    if (in->contents != WHOLE_STATE)
        return ak_fail(in->ctx, AK_ERR_FORMAT, "%s: a file of weights, not a checkpoint: a run can "
                       "not be resumed from it\n    hint: ak_load reads it", in->path);
    if (check_context(in) != AK_OK)
        return ak_error(in->ctx);
    name_list missing = { 0 }, extra = { 0 };
    for (const ak__state *s = ak__state_first(in->ctx); s; s = s->next)
        if (!find_block(in, s->name, true))
            list_name(&missing, s->name, strlen(s->name));
    for (uint64_t i = 0; i < in->n; i++) {
        const block *b = &in->blocks[i];
        if (b->type == STATE && !ak__state_find(in->ctx, name_text(in, b)) &&
            strcmp(in->name, CONTEXT_BLOCK) != 0)
            list_name(&extra, b->name, b->length);
    }
    if (missing.n || extra.n)
        return ak_fail(in->ctx, AK_ERR_NOT_FOUND, "%s: state of this program that the file does "
                       "not hold: %s; state in the file that this program has not made: %s\n    "
                       "hint: make the same optimisers, loaders and values before loading",
                       in->path,
                       listed(&missing), listed(&extra));
    for (const ak__state *s = ak__state_first(in->ctx); s; s = s->next) {
        const block *b = find_block(in, s->name, true);
        const ak_status status = s->ops->check(s->obj, b->data, (size_t)b->bytes);
        if (status != AK_OK)
            return status;
    }
    return AK_OK;
}

/* ---- reading: take it ------------------------------------------------------------------------ */

static void take_tensor(ak_tensor *t, const block *b)
{
    if (b->type == TENSOR_TYPE) {
        memcpy(t->data, b->data, (size_t)b->bytes);
    } else if (b->type == TENSOR_F8) {
        for (int64_t i = 0; i < t->size; i++) {
            double x;
            memcpy(&x, b->data + 8 * i, sizeof x);
            t->data[i] = (ak_real)x;
        }
    } else {
        for (int64_t i = 0; i < t->size; i++) {
            float x;
            memcpy(&x, b->data + 4 * i, sizeof x);
            t->data[i] = (ak_real)x;
        }
    }
    ak__zero_grad_of(t);
    ak__changed(t, "loading a file");
}

static void take_all(const input *in, const char *pattern, bool whole)
{
    ak_tensor *t;
    for (int64_t i = 0; (t = ak_param_at(in->ctx, i)) != NULL; i++)
        if (ak_match(pattern, t->name))
            take_tensor(t, find_block(in, t->name, false));
    if (!whole)
        return;
    const unsigned char *at = find_block(in, CONTEXT_BLOCK, true)->data + 8;
    in->ctx->next_stream = ak__get_u64(&at);
    for (const ak__state *s = ak__state_first(in->ctx); s; s = s->next) {
        const block *b = find_block(in, s->name, true);
        s->ops->load(s->obj, b->data, (size_t)b->bytes);
    }
}

ak_status ak__checkpoint_parse(ak_ctx *ctx, const char *name, const uint8_t *data, size_t size,
                               const char *pattern, bool whole)
{
    input in = { .ctx = ctx, .path = name, .data = data, .size = size };
    ak_status status = check_head(&in);
    if (status == AK_OK)
        status = parse_blocks(&in);
    if (status == AK_OK)
        status = check_tensors(&in, pattern, whole);
    if (status == AK_OK && whole)
        status = check_states(&in);
    if (status == AK_OK)
        take_all(&in, pattern, whole);
    ak__free(in.blocks);
    ak__free(in.name);
    return status;
}

static ak_status read_file(ak_ctx *ctx, const char *path, const char *pattern, bool whole)
{
    if (ak_error(ctx) != AK_OK)
        return ak_error(ctx);
    ak__bytes file = { 0 };
    if (ak__file_read_raw(ctx, path, &file) != AK_OK)
        return ak_error(ctx);
    const ak_status status = ak__checkpoint_parse(ctx, path, file.data, file.n, pattern, whole);
    ak__bytes_free(&file);
    return status;
}

ak_status ak_load(ak_ctx *ctx, const char *path)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, path))
        return ak__refused(ctx);
    return read_file(ctx, path, "*", false);
}

ak_status ak_load_some(ak_ctx *ctx, const char *path, const char *pattern)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, path) || !AK__GIVEN(ctx, pattern))
        return ak__refused(ctx);
    return read_file(ctx, path, pattern, false);
}

ak_status ak_checkpoint_load(ak_ctx *ctx, const char *path)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, path))
        return ak__refused(ctx);
    return read_file(ctx, path, "~*", true);
}

/* ---- reading: what is there ------------------------------------------------------------------ */

static bool list_blocks(const input *in, ak_checkpoint_contents *c)
{
    ak_ctx      *ctx = in->ctx;
    const size_t room = (size_t)in->n + 1;
    ak_array    *arrays = ak__ctx_alloc(ctx, room * sizeof *arrays);
    const char **states = ak__ctx_alloc(ctx, room * sizeof *states);
    int64_t     *bytes = ak__ctx_alloc(ctx, room * sizeof *bytes);
    *c = (ak_checkpoint_contents){ .run = in->contents == WHOLE_STATE, .arrays = arrays,
                                   .states = states, .state_bytes = bytes };
    for (uint64_t i = 0; arrays && states && bytes && i < in->n; i++) {
        const block *b = &in->blocks[i];
        const char  *name = name_text(in, b);
        if (b->type == STATE) {
            bytes[c->n_states] = (int64_t)b->bytes;
            states[c->n_states++] = ak__ctx_strdup(ctx, name);
            continue;
        }
        const ak_array *a = ak__array_new(ctx, name, b->type == TENSOR_F8 ? AK_TYPE_F64
                                                                          : AK_TYPE_F32, b->shape);
        if (!a)
            return false;
        if (b->bytes)
            memcpy((void *)(uintptr_t)a->data, b->data, (size_t)b->bytes);
        arrays[c->n++] = *a;
    }
    return ak_error(ctx) == AK_OK;
}

const ak_checkpoint_contents *ak_checkpoint_look(ak_ctx *ctx, const char *path)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, path))
        return NULL;
    ak__bytes file = { 0 };
    if (ak_error(ctx) != AK_OK || ak__file_read_raw(ctx, path, &file) != AK_OK)
        return NULL;
    input in = { .ctx = ctx, .path = path, .data = file.data, .size = file.n };
    ak_checkpoint_contents *c = ak__ctx_alloc(ctx, sizeof *c);
    const bool fine = c && check_head(&in) == AK_OK && parse_blocks(&in) == AK_OK &&
                      list_blocks(&in, c);
    ak__free(in.blocks);
    ak__free(in.name);
    ak__bytes_free(&file);
    return fine ? c : NULL;
}

bool ak_checkpoint_exists(const char *path)
{
    if (!AK__GIVEN(NULL, path))
        return false;
    return ak__file_exists(path);
}

/* ---- numbers of the program ------------------------------------------------------------------ */

typedef struct user_value { ak_ctx *ctx; const char *name; void *at; } user_value;

static size_t value_size(void *obj)
{
    (void)obj;
    return 8;
}

static void value_save(void *obj, unsigned char *bytes)
{
    memcpy(bytes, ((user_value *)obj)->at, 8);
}

static ak_status value_check(void *obj, const unsigned char *bytes, size_t size)
{
    (void)bytes;
    const user_value *v = obj;
    return size == 8 ? AK_OK : ak_fail(v->ctx, AK_ERR_FORMAT, "value \"%s\": %zu bytes in the "
                                       "file, not 8", v->name, size);
}

static void value_load(void *obj, const unsigned char *bytes, size_t size)
{
    memcpy(((user_value *)obj)->at, bytes, size);
}

/* Whole numbers and numbers have different names in the file, so that one is never read as the
 * other. */
static ak_status add_value(ak_ctx *ctx, const char *kind, const char *name, void *at)
{
    static const ak__state_ops ops = { value_size, value_save, value_check, value_load, NULL };
    if (ak_error(ctx) != AK_OK)
        return ak_error(ctx);
    char full[256];
    if (!name || !*name || strlen(name) > 200)
        return ak_fail(ctx, AK_ERR_VALUE, "checkpoint value: the name must have 1 to 200 "
                       "characters");
    ak__format(full, sizeof full, "%s/%s", kind, name);
    if (ak__state_find(ctx, full))
        return ak_fail(ctx, AK_ERR_VALUE, "checkpoint value: the name \"%s\" is used already",
                       name);
    user_value *v = ak__ctx_alloc(ctx, sizeof *v);
    const ak__state *entry = v ? ak__state_register(ctx, full, &ops, v) : NULL;
    if (!entry)
        return ak_error(ctx);
    *v = (user_value){ .ctx = ctx, .name = entry->name, .at = at };
    return AK_OK;
}

ak_status ak_checkpoint_value(ak_ctx *ctx, const char *name, int64_t *value)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name) || !AK__GIVEN(ctx, value))
        return ak__refused(ctx);
    return add_value(ctx, "value", name, value);
}

ak_status ak_checkpoint_number(ak_ctx *ctx, const char *name, double *value)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name) || !AK__GIVEN(ctx, value))
        return ak__refused(ctx);
    return add_value(ctx, "number", name, value);
}
