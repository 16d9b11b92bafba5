/* SPDX-License-Identifier: Apache-2.0 */
/* akin convert: arrays from file to file, with names by a file of pairs. */
#include "tool.h"

#include <stdlib.h>
#include <string.h>

#define LONGEST 4096            /* a line of the map, with its end */

static const char usage[] =
    "usage: akin convert IN OUT [--map FILE] [--prefix TEXT] [--ignore PATTERN]\n"
    "                    [--convolutions first|last] [--dry-run]\n"
    "IN    .safetensors, .npz, or weights and checkpoints of this library\n"
    "OUT   by its end: .safetensors, .npz, .ckpt\n"
    "FILE  a line a pair: NAME-IN NAME-OUT [axes=10] [axis=0] [shares=4,1,1]; # begins a comment\n"
    "      (ak_weight_pair in akin/weights.h)\n";

/* ---- the map --------------------------------------------------------------------------------- */

static char *copy_of(const char *text)
{
    char *copy = malloc(strlen(text) + 1);
    if (!copy)
        abort();
    return strcpy(copy, text);
}

/* "4,1,1" as a list ended by 0; NULL: it is none. */
static int *read_shares(const char *text)
{
    int *shares = calloc(AK_WEIGHT_PARTS + 1, sizeof *shares);
    for (int n = 0; shares && n < AK_WEIGHT_PARTS; n++) {
        char *end;
        const long x = strtol(text, &end, 10);
        if (end == text || x < 1 || x > 1 << 20 || (*end && *end != ','))
            break;
        shares[n] = (int)x;
        if (!*end)
            return shares;
        text = end + 1;
    }
    free(shares);
    return NULL;
}

static bool read_word(ak_weight_pair *p, const char *word)
{
    if (!p->file) {
        p->file = copy_of(word);
    } else if (!p->module) {
        p->module = copy_of(word);
    } else if (strncmp(word, "axes=", 5) == 0) {
        p->axes = copy_of(word + 5);
    } else if (strncmp(word, "axis=", 5) == 0 && word[5] >= '0' && word[5] <= '9' && !word[6]) {
        p->axis = word[5] - '0';
    } else if (strncmp(word, "shares=", 7) == 0) {
        p->shares = read_shares(word + 7);
        return p->shares != NULL;
    } else {
        return false;
    }
    return true;
}

#define MOST_PAIRS 1000
static ak_weight_pair pairs[MOST_PAIRS + 2];    /* ended by { 0 }; until the program ends */

/* Fills the pairs; false after a message. */
static bool read_map(const char *path)
{
    FILE *file = fopen(path, "r");
    char  line[LONGEST];
    int   n = 0;
    if (!file) {
        fprintf(stderr, "akin: the map %s can not be read\n", path);
        return false;
    }
    for (int number = 1; fgets(line, sizeof line, file); number++) {
        bool fine = n < MOST_PAIRS && strlen(line) < LONGEST - 1;
        line[strcspn(line, "#\r\n")] = '\0';
        for (char *word = strtok(line, " \t"); fine && word; word = strtok(NULL, " \t"))
            fine = read_word(&pairs[n], word);
        if (!fine || (pairs[n].file && !pairs[n].module)) {
            fprintf(stderr, "akin: %s:%d: no pair: NAME-IN NAME-OUT [axes=10] [axis=0] "
                    "[shares=4,1,1]\n", path, number);
            fclose(file);
            return false;
        }
        n += pairs[n].file != NULL;
    }
    const bool read = !ferror(file);
    fclose(file);
    if (!read)
        fprintf(stderr, "akin: the map %s can not be read\n", path);
    return read;
}

/* ---- the command ----------------------------------------------------------------------------- */

/* Takes an option and its value; how many arguments that were. 0: it is none; -1: a message was
 * printed. */
static int read_option(ak_weight_map *map, bool *dry, int argc, char **argv)
{
    if (strcmp(argv[0], "--dry-run") == 0) {
        *dry = true;
        return 1;
    }
    const char *value = argc > 1 ? argv[1] : NULL;
    if (!value)
        return 0;
    if (strcmp(argv[0], "--map") == 0) {
        if (map->pairs)
            fprintf(stderr, "akin: there is one --map at most\n");
        if (map->pairs || !read_map(value))
            return -1;
        map->pairs = pairs;
    } else if (strcmp(argv[0], "--prefix") == 0) {
        map->prefix = value;
    } else if (strcmp(argv[0], "--ignore") == 0) {
        map->ignore = value;
    } else if (strcmp(argv[0], "--convolutions") == 0 && strcmp(value, "first") == 0) {
        map->convolutions = AK_CONV_FIRST;
    } else if (strcmp(argv[0], "--convolutions") == 0 && strcmp(value, "last") == 0) {
        map->convolutions = AK_CONV_LAST;
    } else {
        return 0;
    }
    return 2;
}

int convert_command(ak_ctx *ctx, int argc, char **argv)
{
    ak_weight_map map = { 0 };
    const char   *paths[2] = { NULL, NULL };
    bool          dry = false;
    int           n = 0;
    for (int i = 0; i < argc; ) {
        int taken = 1;
        if (strncmp(argv[i], "--", 2) == 0)
            taken = read_option(&map, &dry, argc - i, argv + i);
        else if (n < 2)
            paths[n++] = argv[i];
        else
            taken = 0;
        if (taken == 0)
            fprintf(stderr, "akin: \"%s\" is not understood\n%s", argv[i], usage);
        if (taken < 1)
            return 2;
        i += taken;
    }
    if (n == 0 || (n == 1 && !dry)) {
        fprintf(stderr, "%s", usage);
        return 2;
    }
    return ak_weights_convert(ctx, paths[0], dry ? NULL : paths[1], map, stdout) == AK_OK ? 0 : 1;
}
