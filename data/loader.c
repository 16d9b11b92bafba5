/* SPDX-License-Identifier: Apache-2.0 */
/* The loader: worker threads fill a ring of batches ahead of the step; the caller takes them in
 * order and gets copies in step memory, so a slot is free again at once. What a batch holds depends
 * on its place (epoch, number) alone: who fills it, and when, changes nothing. */
#include "data/batch.h"

#include "base/base.h"
#include "base/classes.h"
#include "base/frame.h"
#include "base/state.h"
#include "tensor/tensor_internal.h"

#include <math.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#define MAX_THREADS   64
#define DEFAULT_BATCH 256
#define MOST_REFUSALS 1000

typedef struct place { int64_t epoch, batch; } place;

typedef enum slot_state { SLOT_EMPTY, SLOT_BUSY, SLOT_READY } slot_state;

typedef struct loader_slot {
    slot_state state;
    place      at;
    int64_t    count;           /* items */
    ak__fault  fault;           /* the first one, if there is any */
    ak__field_block  blocks[AK_MAX_FIELDS];
    int32_t   *index;           /* [count] */
} loader_slot;

struct ak_loader {
    ak_ctx      *ctx;
    ak__reader   reader;        /* the set as it was when the loader was opened */
    ak__views    views[AK_MAX_FIELDS];
    ak__batch_plan plan;        /* of these two */
    int64_t      batch, batches;        /* items a batch, batches an epoch */
    bool         keep_last;
    uint64_t     seed;
    ak__sampler  sampler;

    int64_t     *order, *workspace;     /* [size] of epoch order_epoch; guarded by mutex */
    int64_t      order_epoch;
    loader_slot *slots;
    int          n_slots;
    void        *memory;        /* of order and slots */
    place        claimed;       /* next batch to fill; its slot is claims % n_slots */
    place        next;          /* next batch to hand out; its slot is takes % n_slots */
    uint64_t     claims, takes;

    int          n_threads;     /* running; 0 = the caller fills */
    pthread_t    threads[MAX_THREADS];
    ak__viewer   viewers[MAX_THREADS];  /* one a thread, the first also the caller's */
    pthread_mutex_t mutex;
    pthread_cond_t  ready, empty;
    bool         paused, quit, closed;

    unsigned     process;       /* ak__process() that started the threads */
    long         process_id;
};

/* Fork takes a loader's threads away, and its mutex may be held by one of them for ever. */
static bool lost_threads(const ak_loader *l)
{
    return l->n_threads > 0 && l->process != ak__process();
}

/* Can it be used at all, and here? */
static ak_status check_usable(const ak_loader *l, const char *who)
{
    if (!ak__outside_frames(l->ctx, who))
        return AK_ERR_STATE;
    if (l->closed)
        return ak_fail(l->ctx, AK_ERR_STATE, "%s: the loader of \"%s\" has been closed", who,
                       l->reader.name);
    if (lost_threads(l))
        return ak_fail(l->ctx, AK_ERR_STATE, "%s: the loader of \"%s\" belongs to process %ld, "
                       "where its threads run; this is process %ld, forked from it: open a loader "
                       "here, or one without threads (AK_NONE) before", who, l->reader.name,
                       l->process_id, (long)getpid());
    return AK_OK;
}

/* ---- filling a batch ------------------------------------------------------------------------- */

static int64_t batch_count(const ak_loader *l, int64_t number)
{
    const int64_t left = l->reader.size - number * l->batch;
    return left < l->batch ? left : l->batch;
}

/* Take the next place and note its items in its slot. Under the mutex. */
static loader_slot *claim(ak_loader *l)
{
    loader_slot *s = &l->slots[l->claims % (uint64_t)l->n_slots];
    if (l->order_epoch != l->claimed.epoch) {
        ak__sampler_order(&l->sampler, l->claimed.epoch, l->reader.size, l->order, l->workspace);
        l->order_epoch = l->claimed.epoch;
    }
    s->state = SLOT_BUSY;
    s->at = l->claimed;
    s->count = batch_count(l, s->at.batch);
    const int64_t *items = l->order + s->at.batch * l->batch;
    for (int64_t i = 0; i < s->count; i++)
        s->index[i] = (int32_t)items[i];
    l->claims++;
    if (++l->claimed.batch == l->batches)
        l->claimed = (place){ l->claimed.epoch + 1, 0 };
    return s;
}

static void fill(ak_loader *l, loader_slot *s, const ak__viewer *viewer)
{
    ak__blocks_fill(&l->plan, s->at.epoch, s->index, s->count, viewer, s->blocks, &s->fault);
}

static void *worker(void *argument)
{
    ak__viewer *viewer = argument;
    ak_loader  *l = viewer->owner;
    pthread_mutex_lock(&l->mutex);
    while (!l->quit) {
        if (l->paused || l->slots[l->claims % (uint64_t)l->n_slots].state != SLOT_EMPTY) {
            pthread_cond_wait(&l->empty, &l->mutex);
            continue;
        }
        loader_slot *s = claim(l);
        pthread_mutex_unlock(&l->mutex);
        fill(l, s, viewer);
        pthread_mutex_lock(&l->mutex);
        s->state = SLOT_READY;
        pthread_cond_broadcast(&l->ready);
    }
    pthread_mutex_unlock(&l->mutex);
    return NULL;
}

/* ---- place ----------------------------------------------------------------------------------- */

ak_loader_state ak_loader_tell(const ak_loader *l)
{
    if (!AK__GIVEN(NULL, l))
        return (ak_loader_state){ 0 };
    return (ak_loader_state){ l->next.epoch, l->next.batch };
}

static ak_status check_place(const ak_loader *l, ak_loader_state state)
{
    if (state.epoch < 0 || state.epoch > INT64_MAX / 2 || state.batch < 0 ||
        state.batch > l->batches)
        return ak_fail(l->ctx, AK_ERR_VALUE, "loader_seek: there is no batch %lld of epoch %lld: "
                       "an epoch of \"%s\" has %lld", (long long)state.batch,
                       (long long)state.epoch, l->reader.name, (long long)l->batches);
    return AK_OK;
}

static void go_to(ak_loader *l, ak_loader_state state)
{
    l->next = (place){ state.epoch, state.batch };
    if (l->closed)
        return;
    pthread_mutex_lock(&l->mutex);
    l->paused = true;                   /* let what is being filled be finished, then drop it */
    for (int i = 0; i < l->n_slots; i++) {
        while (l->slots[i].state == SLOT_BUSY)
            pthread_cond_wait(&l->ready, &l->mutex);
        l->slots[i].state = SLOT_EMPTY;
    }
    l->claims = l->takes = 0;
    l->claimed = state.batch == l->batches ? (place){ state.epoch + 1, 0 } : l->next;
    l->paused = false;
    pthread_cond_broadcast(&l->empty);
    pthread_mutex_unlock(&l->mutex);
}

ak_status ak_loader_seek(ak_loader *l, ak_loader_state state)
{
    if (!AK__GIVEN(NULL, l))
        return ak__refused(NULL);
    if (ak_error(l->ctx))
        return AK_ERR_STATE;
    ak_status status = check_usable(l, "loader_seek");
    if (!status)
        status = check_place(l, state);
    if (!status)
        go_to(l, state);
    return status;
}

/* What a checkpoint holds: the place, and what it is a place in. Early ones lack the order. */
#define STATE_BYTES       56
#define EARLY_STATE_BYTES 48

static uint64_t order_flags(const ak_loader *l)
{
    return (uint64_t)l->sampler.in_order | (uint64_t)l->sampler.balance << 1;
}

static size_t loader_state_size(void *obj)
{
    (void)obj;
    return STATE_BYTES;
}

static void loader_state_save(void *obj, unsigned char *bytes)
{
    const ak_loader *l = obj;
    ak__put_u64(&bytes, (uint64_t)l->next.epoch);
    ak__put_u64(&bytes, (uint64_t)l->next.batch);
    ak__put_u64(&bytes, (uint64_t)l->reader.size);
    ak__put_u64(&bytes, (uint64_t)l->batch);
    ak__put_u64(&bytes, (uint64_t)l->batches);
    ak__put_u64(&bytes, l->seed);
    ak__put_u64(&bytes, order_flags(l));
}

static ak_status loader_state_check(void *obj, const unsigned char *bytes, size_t size)
{
    const ak_loader *l = obj;
    if (!l->closed && check_usable(l, "checkpoint"))
        return AK_ERR_STATE;
    if (size != STATE_BYTES && size != EARLY_STATE_BYTES)
        return ak_fail(l->ctx, AK_ERR_FORMAT, "checkpoint: the loader's state has %zu bytes; %d "
                       "were expected", size, STATE_BYTES);
    const uint64_t epoch = ak__get_u64(&bytes), batch = ak__get_u64(&bytes);
    const uint64_t n = ak__get_u64(&bytes), items = ak__get_u64(&bytes);
    const uint64_t batches = ak__get_u64(&bytes), seed = ak__get_u64(&bytes);
    const uint64_t order = size == STATE_BYTES ? ak__get_u64(&bytes) : order_flags(l);
    if (n != (uint64_t)l->reader.size || items != (uint64_t)l->batch ||
        batches != (uint64_t)l->batches || seed != l->seed)
        return ak_fail(l->ctx, AK_ERR_STATE, "checkpoint: was made with a loader of %llu items, "
                       "batch %llu, %llu batches an epoch, seed %llu; this one has %lld, %lld, "
                       "%lld, %llu: use the same options to resume", (unsigned long long)n,
                       (unsigned long long)items, (unsigned long long)batches,
                       (unsigned long long)seed, (long long)l->reader.size, (long long)l->batch,
                       (long long)l->batches, (unsigned long long)l->seed);
    if (order != order_flags(l))
        return ak_fail(l->ctx, AK_ERR_STATE, "checkpoint: was made with a loader of .in_order %d, "
                       ".balance %d; this one has %d, %d: use the same options to resume",
                       (int)(order & 1), (int)(order >> 1 & 1), l->sampler.in_order,
                       l->sampler.balance);
    if (epoch > INT64_MAX / 2 || batch > batches)
        return ak_fail(l->ctx, AK_ERR_FORMAT, "checkpoint: the loader's place (epoch %llu, batch "
                       "%llu) does not exist", (unsigned long long)epoch,
                       (unsigned long long)batch);
    return AK_OK;
}

static void loader_state_load(void *obj, const unsigned char *bytes, size_t size)
{
    (void)size;
    const int64_t epoch = (int64_t)ak__get_u64(&bytes), batch = (int64_t)ak__get_u64(&bytes);
    go_to(obj, (ak_loader_state){ epoch, batch });
}

static const ak__state_ops loader_state_ops = { loader_state_size, loader_state_save,
                                                loader_state_check, loader_state_load, NULL };

/* ---- opening --------------------------------------------------------------------------------- */

/* A batch near `batch` that leaves no single item; one of all items always does. */
static int64_t batch_without_single(int64_t size, int64_t batch)
{
    int64_t other = batch - 1;
    while (other >= 2 && size % other == 1)
        other--;
    for (; other < 2 || size % other == 1; other++) { }
    return other;
}

static ak_status check_options(ak_dataset *ds, const ak_loader_options *o)
{
    ak_ctx       *ctx = ds->ctx;
    const int64_t batch = o->batch ? o->batch : DEFAULT_BATCH;
    if (batch == 1)
        return ak_fail(ctx, AK_ERR_VALUE, "loader_open: a batch of 1 has nothing to be compared "
                       "with; .batch must be at least 2 (256 is usual)");
    if (batch < 0)
        return ak_fail(ctx, AK_ERR_VALUE, "loader_open: .batch is %lld; at least 2 is needed",
                       (long long)batch);
    if (batch > ds->size)
        return ak_fail(ctx, AK_ERR_VALUE, "loader_open: .batch is %lld%s, but \"%s\" has only %lld "
                       "items; choose a smaller batch", (long long)batch,
                       o->batch ? "" : " (the default)", ds->name, (long long)ds->size);
    if (o->keep_last && ds->size % batch == 1) {
        const int64_t other = batch_without_single(ds->size, batch);
        return ak_fail(ctx, AK_ERR_VALUE, "loader_open: .keep_last: %lld items in batches of %lld "
                       "leave a last batch of 1, which has nothing to be compared with; choose "
                       "another .batch (%lld leaves %lld), or let the last one be dropped",
                       (long long)ds->size, (long long)batch, (long long)other,
                       (long long)(ds->size % other));
    }
    if (o->threads < AK_NONE || o->threads > MAX_THREADS)
        return ak_fail(ctx, AK_ERR_VALUE, "loader_open: .threads is %d; 1 to %d or AK_NONE are "
                       "possible", o->threads, MAX_THREADS);
    if (o->balance && o->in_order)
        return ak_fail(ctx, AK_ERR_VALUE, "loader_open: .balance shuffles; .in_order excludes it");
    for (int64_t i = 0; o->balance && i < ds->size && !ak_error(ctx); i++)
        if (ak_dataset_label(ds, i) < 0 && !ak_error(ctx))
            return ak_fail(ctx, AK_ERR_VALUE, "loader_open: .balance needs a label for every item; "
                           "item %lld of \"%s\" has none", (long long)i, ds->name);
    return ak_error(ctx);
}

/* For the sampler, which counts by class: labels numbered without gaps, in context memory. */
static ak_status number_classes(ak_loader *l)
{
    const int64_t n = l->reader.size;
    if (!l->sampler.balance)
        return AK_OK;
    int32_t *value = ak__malloc((size_t)n * sizeof *value);
    int32_t *class = ak__ctx_alloc(l->ctx, (size_t)n * sizeof *class);
    if (!value)
        ak__fail_memory(l->ctx, (size_t)n * sizeof *value);
    if (value && class) {
        for (int64_t i = 0; i < n; i++)
            class[i] = ak__reader_label(&l->reader, i);
        l->sampler.classes = ak__distinct(class, n, value);
        for (int64_t i = 0; i < n; i++)
            class[i] = (int32_t)ak__place_of(value, l->sampler.classes, class[i]);
        l->sampler.labels = class;
    }
    ak__free(value);
    return value && class ? AK_OK : AK_ERR_MEMORY;
}

/* A copy of a list in context memory; NULL for an empty one. */
static ak_status copy_list(ak_ctx *ctx, const ak_augment **list)
{
    const int   n = ak__augment_count(*list);
    ak_augment *copy = n ? ak__ctx_alloc(ctx, ((size_t)n + 1) * sizeof *copy) : NULL;
    if (n && !copy)
        return AK_ERR_MEMORY;
    if (n)
        memcpy(copy, *list, (size_t)n * sizeof *copy);
    *list = copy;
    return AK_OK;
}

/* The views that one field gets. */
static ak_status field_views(ak_loader *l, ak_dataset *ds, int f, ak_field_views o)
{
    const ak_augment *lists[AK_MAX_VIEWS] = { 0 };
    const char       *name = l->reader.field[f].name;
    const bool        plain = l->reader.field[f].kind > AK_FIELD_TOKENS;
    if (o.views < 0 || o.views > AK_MAX_VIEWS)
        return ak_fail(l->ctx, AK_ERR_VALUE, "loader_open: .views is %d (field \"%s\"); 1 to %d "
                       "are possible", o.views, name, AK_MAX_VIEWS);
    const int views = o.views ? o.views : 1;
    if (o.augment && o.augment_each)
        return ak_fail(l->ctx, AK_ERR_VALUE, "loader_open: give .augment or .augment_each, not "
                       "both (field \"%s\")", name);
    if (plain && (views > 1 || o.augment || o.augment_each))
        return ak_fail(l->ctx, AK_ERR_VALUE, "loader_open: field \"%s\" holds labels, numbers or "
                       "ids, which have no views", name);
    for (int v = 0; v < views; v++)
        lists[v] = o.augment_each ? o.augment_each[v] : o.augment;
    ak_status status = ak__views_open(&l->views[f], ds, f, "loader_open", views, lists, l->seed);
    for (int v = 0; v < views && !status; v++)
        status = copy_list(l->ctx, &l->views[f].lists[v]);
    return status;
}

/* The place of a field that .fields names; -1: recorded. */
static int named_field(const ak_loader *l, ak_dataset *ds, const ak_loader_options *o,
                       const char *name)
{
    const ak__field *found = ak__dataset_field(ds, "loader_open", name);
    int              f = 0;
    if (!found)
        return -1;
    while (ds->field[f] != found)
        f++;
    const bool main = f == l->reader.main && (o->views || o->augment || o->augment_each);
    if (!main && l->views[f].views == 0)
        return f;
    ak_fail(l->ctx, AK_ERR_VALUE, "loader_open: .fields names \"%s\", whose views are said "
            "already%s", name,
            main ? ": it is the main field, which .views and .augment are for" : "");
    return -1;
}

static ak_status open_views(ak_loader *l, ak_dataset *ds, const ak_loader_options *o)
{
    ak_status status = AK_OK;
    int       n = 0;
    if (l->reader.main < 0 && (o->views > 1 || o->augment || o->augment_each))
        return ak_fail(l->ctx, AK_ERR_VALUE, "loader_open: \"%s\" has no picture, vector, sequence "
                       "or tokens to make views of", l->reader.name);
    for (const ak_field_views *v = o->fields; v && v->field && !status; v++) {
        if (n++ == AK_MAX_FIELDS)
            return ak_fail(l->ctx, AK_ERR_VALUE, "loader_open: more than %d entries in .fields: "
                           "does it end with { 0 }?", AK_MAX_FIELDS);
        const int f = named_field(l, ds, o, v->field);
        status = f < 0 ? ak_error(l->ctx) : field_views(l, ds, f, *v);
    }
    for (int f = 0; f < l->reader.n_fields && !status; f++)
        if (l->views[f].views == 0)
            status = field_views(l, ds, f, f == l->reader.main
                ? (ak_field_views){ NULL, o->views, o->augment, o->augment_each }
                : (ak_field_views){ 0 });
    return status;
}

/* Lay out everything the threads need in one block; returns its size. */
static size_t lay_out(ak_loader *l, char *block, int n_viewers)
{
    size_t     numbers = 0, taps = 0;
    ak__carver c = { .base = block };
    for (int f = 0; f < l->reader.n_fields; f++) {
        const size_t n = ak__viewer_numbers(&l->reader.field[f], &l->views[f]);
        const size_t t = ak__viewer_taps(&l->views[f]);
        numbers = n > numbers ? n : numbers;
        taps = t > taps ? t : taps;
    }
    l->order = ak__carve(&c, l->reader.size, sizeof *l->order);
    l->workspace = ak__carve(&c, l->sampler.balance
                             ? ak__sampler_workspace(l->reader.size, l->sampler.classes) : 0,
                             sizeof *l->workspace);
    for (int i = 0; i < l->n_slots; i++) {
        ak__blocks_carve(&l->plan, l->batch, &c, l->slots[i].blocks);
        l->slots[i].index = ak__carve(&c, l->batch, sizeof *l->slots[i].index);
    }
    for (int i = 0; i < n_viewers; i++) {
        l->viewers[i] = (ak__viewer){ .owner = l };
        l->viewers[i].memory = ak__carve_reals(&c, (int64_t)numbers);
        l->viewers[i].taps = ak__carve(&c, (int64_t)taps, sizeof(int32_t));
        l->viewers[i].scratch = ak__carve(&c, (int64_t)l->reader.scratch, 1);
    }
    return c.used;
}

static bool reserve(ak_loader *l, int n_viewers)
{
    if (ak__blocks_size(&l->plan, l->batch) * l->n_slots > (double)(SIZE_MAX / 4)) {
        ak__fail_memory(l->ctx, SIZE_MAX / 4);
        return false;
    }
    const size_t bytes = lay_out(l, NULL, n_viewers);
    l->memory = ak__malloc(bytes);
    if (!l->memory) {
        ak__fail_memory(l->ctx, bytes);
        return false;
    }
    memset(l->memory, 0, bytes);
    lay_out(l, l->memory, n_viewers);
    return true;
}

static void start_threads(ak_loader *l, int wanted)
{
    for (int i = 0; i < wanted; i++) {
        if (pthread_create(&l->threads[i], NULL, worker, &l->viewers[i])) {
            ak_log_message(l->ctx, AK_LOG_WARNING, "loader: %d of %d threads could be started; "
                   "batches are the same, only later", i, wanted);
            break;
        }
        l->n_threads++;
    }
}

static void loader_close(void *obj)
{
    ak_loader_close(obj);
}

ak_loader *ak_loader_open(ak_dataset *ds, ak_loader_options o)
{
    if (!AK__GIVEN(NULL, ds))
        return NULL;
    if (ak_error(ds->ctx) || check_options(ds, &o))
        return NULL;
    ak_loader *l = ak__ctx_alloc(ds->ctx, sizeof *l);
    const int  threads = o.threads == AK_NONE ? 0 : o.threads ? o.threads : 1;
    if (!l)
        return NULL;
    l->ctx = ds->ctx;
    ak__reader_open(&l->reader, ds);
    l->plan = (ak__batch_plan){ &l->reader, l->views };
    l->batch = o.batch ? o.batch : DEFAULT_BATCH;
    l->keep_last = o.keep_last;
    l->batches = ds->size / l->batch + (o.keep_last && ds->size % l->batch);
    l->seed = o.seed ? o.seed : ds->ctx->seed;
    l->sampler = (ak__sampler){ .seed = l->seed, .in_order = o.in_order,
                                .balance = o.balance };
    l->order_epoch = -1;
    l->n_slots = threads ? threads + 2 : 1;
    l->slots = ak__ctx_alloc(l->ctx, (size_t)l->n_slots * sizeof *l->slots);
    l->closed = true;
    if (!l->slots || number_classes(l) || open_views(l, ds, &o) ||
        !reserve(l, threads ? threads : 1))
        return NULL;
    pthread_mutex_init(&l->mutex, NULL);
    pthread_cond_init(&l->ready, NULL);
    pthread_cond_init(&l->empty, NULL);
    l->closed = false;
    if (!ak__at_close(l->ctx, loader_close, l) ||
        !ak__state_register(l->ctx, "loader", &loader_state_ops, l)) {
        ak_loader_close(l);
        return NULL;
    }
    l->process = ak__process();
    l->process_id = (long)getpid();
    start_threads(l, threads);
    return l;
}

void ak_loader_close(ak_loader *l)
{
    if (!l || l->closed)
        return;
    if (!lost_threads(l)) {     /* otherwise there is nobody to wait for */
        pthread_mutex_lock(&l->mutex);
        l->quit = true;
        pthread_cond_broadcast(&l->empty);
        pthread_mutex_unlock(&l->mutex);
        for (int i = 0; i < l->n_threads; i++)
            pthread_join(l->threads[i], NULL);
        pthread_cond_destroy(&l->empty);
        pthread_cond_destroy(&l->ready);
        pthread_mutex_destroy(&l->mutex);
    }
    ak__free(l->memory);
    l->memory = NULL;
    l->n_threads = 0;
    l->closed = true;
}

/* ---- handing out ----------------------------------------------------------------------------- */

/* The slot of the next batch, when it is filled. */
static loader_slot *wait_for_next(ak_loader *l)
{
    loader_slot *s = &l->slots[l->takes % (uint64_t)l->n_slots];
    if (l->n_threads == 0) {
        if (s->state != SLOT_READY) {
            claim(l);
            fill(l, s, &l->viewers[0]);
            s->state = SLOT_READY;
        }
        return s;
    }
    pthread_mutex_lock(&l->mutex);
    while (s->state != SLOT_READY)
        pthread_cond_wait(&l->ready, &l->mutex);
    pthread_mutex_unlock(&l->mutex);
    return s;
}

static void give_back(ak_loader *l, loader_slot *s)
{
    pthread_mutex_lock(&l->mutex);
    s->state = SLOT_EMPTY;
    l->takes++;
    l->next.batch++;
    pthread_cond_signal(&l->empty);
    pthread_mutex_unlock(&l->mutex);
}

/* Copies in step memory. */
static bool copy_out(ak_loader *l, const loader_slot *s, ak_batch *b)
{
    const bool fine = ak__blocks_give(&l->plan, s->index, s->count, s->blocks, b);
    b->epoch = s->at.epoch;
    b->number = s->at.batch;
    return fine;
}

/* Calls in a row, on this thread, that gave no batch because of an error. */
static _Thread_local int refusals;

/* No batch, because of an error: false, so that a loop over batches ends. Whoever asks so often is
 * in a loop that waits for one: true, with the poison batch, lets it go on to the end of its step,
 * which tells the error. */
static bool refuse(ak_ctx *ctx, ak_batch *b)
{
    ak__batch_poison(b, ctx);
    refusals = (refusals + 1) % MOST_REFUSALS;
    return refusals == 0;
}

/* The batch at l->next, which is not the end of an epoch. */
static bool take(ak_loader *l, ak_batch *b)
{
    loader_slot *s = wait_for_next(l);
    bool         fine = true;
    if (s->fault.what != AK__NO_FAULT)
        fine = ak__fault_fail(&l->reader, "loader", &s->fault) == AK_OK;
    else if (l->ctx->check_numbers)
        fine = ak__blocks_finite(&l->plan, s->at.epoch, s->index, s->count, s->blocks);
    if (fine && !copy_out(l, s, b))
        return refuse(l->ctx, b);    /* out of memory: the batch stays for the next call */
    give_back(l, s);
    if (!fine)
        return refuse(l->ctx, b);
    refusals = 0;
    return true;
}

bool ak_loader_next(ak_loader *l, ak_batch *b)
{
    if (!AK__GIVEN(l ? l->ctx : NULL, b))
        return false;
    if (!AK__GIVEN(NULL, l) || ak_error(l->ctx) || check_usable(l, "loader_next"))
        return refuse(l ? l->ctx : NULL, b);
    if (l->next.batch < l->batches)
        return take(l, b);
    l->next = (place){ l->next.epoch + 1, 0 };
    refusals = 0;
    *b = (ak_batch){ 0 };
    return false;
}

bool ak_loader_endless(ak_loader *l, ak_batch *b)
{
    if (!AK__GIVEN(l ? l->ctx : NULL, b))
        return false;
    if (!AK__GIVEN(NULL, l) || ak_error(l->ctx) || check_usable(l, "loader_endless"))
        return refuse(l ? l->ctx : NULL, b);
    if (l->next.batch == l->batches)
        l->next = (place){ l->next.epoch + 1, 0 };
    return take(l, b);
}

int64_t ak_loader_batches(const ak_loader *l)
{
    return l ? l->batches : 0;
}
