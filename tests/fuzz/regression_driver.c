/* SPDX-License-Identifier: Apache-2.0 */
/* Replays corpus files through one fuzz target without libFuzzer: each file as it is, then cut and
 * changed in some places. Arguments: folders or files. */
#include "fuzz.h"

#include <dirent.h>
#include <string.h>
#include <sys/stat.h>

static int replayed;

/* A copy of exactly n bytes, so that a sanitizer sees every byte read beyond them. */
static void run(const uint8_t *bytes, size_t n)
{
    uint8_t *copy = malloc(n ? n : 1);
    fuzz_require(copy);
    memcpy(copy, bytes, n);
    LLVMFuzzerTestOneInput(copy, n);
    free(copy);
}

static void replay(const char *path)
{
    FILE *f = fopen(path, "rb");
    fuzz_require(f);
    static uint8_t bytes[1 << 20];
    const size_t   n = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    run(bytes, n);
    const size_t step = 1 + n / 200;
    for (size_t at = 0; at < n; at += step) {
        run(bytes, at);
        const uint8_t changes[] = { 0x01, 0x80, 0xff };
        for (size_t k = 0; k < sizeof changes; k++) {
            bytes[at] ^= changes[k];
            run(bytes, n);
            bytes[at] ^= changes[k];
        }
    }
    replayed++;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        struct stat s;
        fuzz_require(stat(argv[i], &s) == 0);
        if (!S_ISDIR(s.st_mode)) {
            replay(argv[i]);
            continue;
        }
        DIR *d = opendir(argv[i]);
        fuzz_require(d);
        for (struct dirent *e; (e = readdir(d)); ) {
            char path[4096];
            snprintf(path, sizeof path, "%s/%s", argv[i], e->d_name);
            if (e->d_name[0] != '.')
                replay(path);
        }
        closedir(d);
    }
    printf("%d files replayed\n", replayed);
    return replayed ? 0 : 1;
}
