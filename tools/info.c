/* SPDX-License-Identifier: Apache-2.0 */
/* akin info FILE: arrays of a file; akin info NAME: the parts of a module and what they cost. */
#include "tool.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- files ----------------------------------------------------------------------------------- */

static void array_line(const char *name, const char *type, ak_shape shape, int64_t bytes)
{
    char text[AK_SHAPE_TEXT];
    printf("%-48s %-5s %-20s %12" PRId64 "\n", name, type, ak_shape_text(shape, text), bytes);
}

/* Prints one array of ak_array form and counts. */
static void list_array(const ak_array *a, int64_t *numbers, int64_t *bytes)
{
    const int64_t size = a->size * (int64_t)ak_type_size(a->type);
    array_line(a->name, ak_type_name(a->type), a->shape, size);
    *numbers += a->size;
    *bytes += size;
}

static void total_line(int64_t n, int64_t numbers, int64_t bytes)
{
    printf("%" PRId64 " arrays, %" PRId64 " numbers, %" PRId64 " bytes\n", n, numbers, bytes);
}

static int safetensors_info(ak_ctx *ctx, const char *path)
{
    ak_safetensors *f = ak_safetensors_open(ctx, path);
    const char     *key, *value;
    int64_t         numbers = 0, bytes = 0;
    printf("%s: safetensors\n", path);
    for (int64_t i = 0; i < ak_safetensors_count(f); i++) {
        const ak_safetensors_entry *e = ak_safetensors_info(f, i);
        array_line(e->name, e->type, e->shape, e->bytes);
        const int64_t size = e->shape.n <= AK_MAX_DIMS ? ak_shape_size(e->shape) : 0;
        numbers += size;
        bytes += e->bytes;
    }
    total_line(ak_safetensors_count(f), numbers, bytes);
    for (int64_t i = 0; (key = ak_safetensors_metadata(f, i, &value)) != NULL; i++)
        printf("metadata  %s: %s\n", key, value);
    return 0;
}

static int npz_info(ak_ctx *ctx, const char *path)
{
    ak_npz *f = ak_npz_open(ctx, path);
    int64_t numbers = 0, bytes = 0;
    printf("%s: npz\n", path);
    for (int64_t i = 0; i < ak_npz_count(f); i++)
        list_array(ak_npz_at(f, i), &numbers, &bytes);
    total_line(ak_npz_count(f), numbers, bytes);
    return 0;
}

static int npy_info(ak_ctx *ctx, const char *path)
{
    int64_t numbers = 0, bytes = 0;
    list_array(ak_npy_read(ctx, path), &numbers, &bytes);
    return 0;
}

static int checkpoint_info(ak_ctx *ctx, const char *path)
{
    const ak_checkpoint_contents *c = ak_checkpoint_look(ctx, path);
    int64_t numbers = 0, bytes = 0;
    printf("%s: %s\n", path, c->run ? "checkpoint of a run" : "weights");
    for (int64_t i = 0; i < c->n; i++)
        list_array(&c->arrays[i], &numbers, &bytes);
    total_line(c->n, numbers, bytes);
    for (int64_t i = 0; i < c->n_states; i++)
        printf("state  %s, %" PRId64 " bytes\n", c->states[i], c->state_bytes[i]);
    return 0;
}

static int file_info(ak_ctx *ctx, const char *path, FILE *file)
{
    unsigned char head[8] = { 0 };
    const size_t  n = fread(head, 1, sizeof head, file);
    fclose(file);
    if (n >= 2 && memcmp(head, "PK", 2) == 0)
        return npz_info(ctx, path);
    const bool packed = n >= 2 && memcmp(head, "\x1f\x8b", 2) == 0;    /* gzip: only npy may be */
    if (packed || (n >= 6 && memcmp(head, "\x93NUMPY", 6) == 0))
        return npy_info(ctx, path);
    if (n >= 5 && memcmp(head, "\x89" "AKIN", 5) == 0)
        return checkpoint_info(ctx, path);
    return safetensors_info(ctx, path);
}

/* ---- modules --------------------------------------------------------------------------------- */

static const model *find_model(const char *name)
{
    const model *m;
    for (int i = 0; (m = model_at(i)) != NULL; i++)
        if (strcmp(m->name, name) == 0)
            return m;
    return NULL;
}

/* Whole numbers from 1 on between signs, at most `room`; how many, 0: they are none. */
static int read_numbers(const char *text, char between, int64_t *to, int room)
{
    for (int n = 0; n < room; ) {
        char           *end;
        const long long x = strtoll(text, &end, 10);
        if (end == text || x < 1 || x > INT32_MAX)
            return 0;
        to[n++] = x;
        if (*end == '\0')
            return n;
        if (*end != between)
            return 0;
        text = end + 1;
    }
    return 0;
}

/* How many numbers the model's option takes; 0: it has none of this name. */
static int option_room(const model *m, const char *name)
{
    const size_t n = strlen(name);
    for (const char *at = m->options; *at; at += strspn(at, " ")) {
        const size_t length = strcspn(at, " ");
        if (length == n && memcmp(at, name, n) == 0)
            return 1;
        if (length == n + 2 && memcmp(at, name, n) == 0 && memcmp(at + n, "..", 2) == 0)
            return AK_CONVNET_MAX + 1;
        at += length;
    }
    return 0;
}

static bool add_option(const model *m, model_options *o, const char *name, const char *text)
{
    int64_t   values[AK_CONVNET_MAX + 1];
    const int room = option_room(m, name);
    const int n = text && room ? read_numbers(text, ',', values, room) : 0;
    if (room == 0) {
        fprintf(stderr, "akin: %s has no option --%s; it has --input --batch and: %s\n", m->name,
                name, m->options);
        return false;
    }
    for (int i = 0; i < o->n; i++)
        if (strcmp(o->option[i].name, name) == 0) {
            fprintf(stderr, "akin: --%s is given twice\n", name);
            return false;
        }
    if (n == 0) {
        fprintf(stderr, room == 1 ? "akin: --%s needs a whole number from 1 on\n"
                : "akin: --%s needs whole numbers from 1 on: 3,32,64\n", name);
        return false;
    }
    o->option[o->n].name = name;
    for (int i = 0; i < n; i++)
        o->option[o->n].values[i] = (int)values[i];
    o->n++;
    return true;
}

/* Zeros [batch, ..] of the model's kind of input. */
static ak_inputs make_input(ak_ctx *ctx, const model *m, const model_options *o, int64_t batch)
{
    ak_shape shape = { .n = o->input.n + 1, .dims = { batch } };
    for (int i = 0; i < o->input.n; i++)
        shape.dims[i + 1] = o->input.dims[i];
    if (!m->tokens)
        return (ak_inputs){ .x = ak_zeros(ctx, shape) };
    int32_t  *zeros = calloc((size_t)ak_shape_size(shape) + 1, sizeof *zeros);
    ak_inputs in = { .ids = ak_index_from(ctx, shape, zeros) };     /* NULL: refused there */
    free(zeros);
    return in;
}

static int model_info(ak_ctx *ctx, const model *m, int argc, char **argv)
{
    model_options o = { 0 };
    int64_t       batch = 1;
    const char   *input = m->input;
    for (int i = 0; i < argc; i += 2) {
        const char *text = i + 1 < argc ? argv[i + 1] : NULL;
        if (strncmp(argv[i], "--", 2) != 0) {
            fprintf(stderr, "akin: \"%s\" is no option; %s has --input --batch and: %s\n", argv[i],
                    m->name, m->options);
            return 2;
        }
        if (strcmp(argv[i], "--input") == 0)
            input = text ? text : "";
        else if (strcmp(argv[i], "--batch") == 0)
            batch = text && read_numbers(text, ',', &batch, 1) ? batch : 0;
        else if (!add_option(m, &o, argv[i] + 2, text))
            return 2;
    }
    o.input.n = read_numbers(input, 'x', o.input.dims, AK_MAX_DIMS - 1);
    if (o.input.n == 0 || (m->tokens && o.input.n != 1) || batch < 1) {
        fprintf(stderr, "akin: --input is the shape of one item, %s; --batch is a number from 1 "
                "on\n", m->input);
        return 2;
    }
    ak_module *net = m->make(ctx, m->name, &o);
    return ak_module_info(net, make_input(ctx, m, &o, batch), stdout) == AK_OK ? 0 : 1;
}

/* ---- the command ----------------------------------------------------------------------------- */

int info_command(ak_ctx *ctx, int argc, char **argv)
{
    if (argc == 0)
        return library_info(ctx);
    const model *m = find_model(argv[0]);
    FILE        *file = fopen(argv[0], "rb");
    if (file && argc == 1)
        return file_info(ctx, argv[0], file);
    if (file)
        fclose(file);
    if (m)
        return model_info(ctx, m, argc - 1, argv + 1);
    if (file)
        fprintf(stderr, "akin: a file has no options: %s\n", argv[1]);
    else
        fprintf(stderr, "akin: no file can be read at \"%s\", and no module has this name:",
                argv[0]);
    for (int i = 0; !file && (m = model_at(i)) != NULL; i++)
        fprintf(stderr, " %s", m->name);
    fprintf(stderr, "\n");
    return 2;
}
