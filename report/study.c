/* SPDX-License-Identifier: Apache-2.0 */
/* Studies: the command line, which runs are to be made, making them. */
#define _GNU_SOURCE     /* dladdr */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <akin/io.h>

#include "base/base.h"
#include "base/text.h"
#include "io/file.h"
#include "report/run_inside.h"
#include "report/study_inside.h"

extern char **environ;

#define MAX_SEEDS 1000

struct ak_study_run {
    ak__study *study;
    ak_ctx    *ctx;
    ak_run    *folder;
    int        arm, seed;
    bool       choosing;
    double    *each[AK__LIST_MAX];      /* items of each measure; NULL = a figure, or not given */
    ak_measure figure[AK__LIST_MAX];
    bool       given[AK__LIST_MAX];
    char       message[1536];           /* the first error of the context */
};

/* ---- what decides a result ------------------------------------------------------------------- */

static uint64_t hash_text(uint64_t hash, const char *text)
{
    return text ? ak__hash_bytes(hash, text, strlen(text) + 1) : ak__hash_bytes(hash, "\1", 1);
}

static uint64_t hash_file(ak_ctx *ctx, uint64_t hash, const char *path)
{
    ak__mapping map;
    if (ak__file_map(ctx, path, &map))
        return hash;
    if (map.n)
        hash = ak__hash_bytes(hash, map.data, map.n);
    ak__file_unmap(&map);
    return hash;
}

/* The program and the library as they are on the disk, and what the environment sets. */
static uint64_t hash_code(ak__study *s)
{
    uint64_t hash = hash_file(s->ctx, AK__HASH_START, "/proc/self/exe"), set = 0;
    Dl_info  library, program;          /* the same file where the library is linked statically */
    if (dladdr(ak_version(), &library) && library.dli_fname &&
        dladdr((const void *)getauxval(AT_ENTRY), &program) &&
        program.dli_fbase != library.dli_fbase)
        hash = hash_file(s->ctx, hash, library.dli_fname);
    hash = hash_text(hash, ak_cpu_name());
    for (char **e = environ; *e; e++)       /* in any order */
        if (strncmp(*e, "AK_", 3) == 0 && strncmp(*e, "AK_RUNS=", 8) != 0)
            set += hash_text(AK__HASH_START, *e);
    hash = ak__hash_bytes(hash, &set, sizeof set);
    hash = hash_text(hash, s->what->settings);
    hash = hash_text(hash, s->quick ? "quick" : "whole");
    return hash_text(hash, s->data);
}

uint64_t ak__study_key(const ak__study *s, int arm, int seed)
{
    uint64_t hash = hash_text(s->code, s->what->arms[arm].name);
    hash = hash_text(hash, s->what->arms[arm].settings);
    return ak__hash_bytes(hash, &seed, sizeof seed);
}

/* ---- what is given --------------------------------------------------------------------------- */

int ak__study_measure_index(const ak__study *s, const char *name)
{
    for (int i = 0; name && i < s->measures; i++)
        if (strcmp(s->what->measures[i].name, name) == 0)
            return i;
    return -1;
}

int ak__study_arm_index(const ak__study *s, const char *name)
{
    for (int i = 0; name && i < s->arms; i++)
        if (strcmp(s->what->arms[i].name, name) == 0)
            return i;
    return -1;
}

static int usage(const ak_study *what, const char *why, const char *argument)
{
    if (why)
        fprintf(stderr, "study %s: %s%s%s\n", what->name, why, *argument ? ": " : "", argument);
    fprintf(why ? stderr : stdout,
            "options: --seeds N     seeds of every arm, 1 to %d\n"
            "         --arm NAME    this arm only (may be repeated)\n"
            "         --quick       a trial of seconds, in a folder of its own\n"
            "         --resume      go on in unfinished runs\n"
            "         --data FOLDER where data is\n"
            "         --list        what there is to run, and what is there already\n", MAX_SEEDS);
    return why ? AK_STUDY_USAGE : 0;
}

static bool plain(const char *name)
{
    return name && *name && strlen(name) < 60 &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") ==
               strlen(name);
}

/* The lists of the study; the text of what is wrong, NULL if nothing is. */
static const char *examine(ak__study *s)
{
    const ak_study *w = s->what;
    if (!plain(w->name) || !w->measures || !w->arms)
        return "a name (letters, digits, _ and -), measures and arms are needed";
    for (; s->measures < AK__LIST_MAX && w->measures[s->measures].name; s->measures++)
        if (!plain(w->measures[s->measures].name) ||
            ak__study_measure_index(s, w->measures[s->measures].name) >= 0)
            return "a measure's name is twice, or has more than letters, digits, _ and -";
    for (; s->arms < AK__LIST_MAX && w->arms[s->arms].name; s->arms++)
        if (!plain(w->arms[s->arms].name) || !w->arms[s->arms].run ||
            ak__study_arm_index(s, w->arms[s->arms].name) >= 0)
            return "an arm's name is twice or no plain name, or it has no function";
    if (!s->measures || !s->arms || s->measures == AK__LIST_MAX || s->arms == AK__LIST_MAX)
        return "lists of measures and arms have 1 to 999 entries and end with { 0 }";
    s->baseline = w->baseline ? ak__study_arm_index(s, w->baseline) : s->arms - 1;
    if (s->baseline < 0)
        return "the baseline is no arm";
    for (; w->claims && w->claims[s->claims].name; s->claims++) {
        const ak_study_claim *c = &w->claims[s->claims];
        if (!plain(c->name) || ak__study_measure_index(s, c->measure) < 0 ||
            ak__study_arm_index(s, c->arm) < 0 || !isfinite(c->margin) ||
            (c->against && ak__study_arm_index(s, c->against) < 0) ||
            (unsigned)c->over > AK_STUDY_ITEMS || s->claims == AK__LIST_MAX)
            return "a claim names a measure or an arm that is none, or its margin is not finite";
    }
    return getenv("AK_SEED") ? "AK_SEED is set: all seeds would be the same one; unset it" : NULL;
}

/* -1: go on; otherwise the exit code. */
static int command_line(ak__study *s, int argc, char **argv, bool *list)
{
    const ak_study *w = s->what;
    bool some = false;
    s->seeds = 0;
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(a, "--quick") == 0) {
            s->quick = true;
        } else if (strcmp(a, "--resume") == 0) {
            s->resume = true;
        } else if (strcmp(a, "--list") == 0) {
            *list = true;
        } else if (strcmp(a, "--help") == 0) {
            return usage(w, NULL, "");
        } else if (strcmp(a, "--seeds") == 0 || strcmp(a, "--arm") == 0 ||
                   strcmp(a, "--data") == 0) {
            if (!value)
                return usage(w, "a value is missing behind", a);
            i++;
            char *end;
            const long n = strtol(value, &end, 10);
            const int  arm = ak__study_arm_index(s, value);
            if (a[2] == 's' && (*end || end == value || n < 1 || n > MAX_SEEDS))
                return usage(w, "--seeds is a whole number of the range below, not", value);
            if (a[2] == 'a' && arm < 0)
                return usage(w, "no arm has this name (--list shows them)", value);
            if (a[2] == 's')
                s->seeds = (int)n;
            else if (a[2] == 'd')
                s->data = value;
            else
                some = s->wanted[arm] = true;
        } else {
            return usage(w, "unknown option", a);
        }
    }
    for (int i = 0; !some && i < s->arms; i++)
        s->wanted[i] = true;
    const int usual = s->quick ? (w->quick_seeds ? w->quick_seeds : 2) : (w->seeds ? w->seeds : 5);
    if (!s->seeds)
        s->seeds = usual;
    return s->seeds >= 1 && s->seeds <= MAX_SEEDS ? -1 : usage(w, "too many seeds", "");
}

/* The folder, and the lock that keeps a second process out until this one ends, however it does. */
static bool open_folder(ak__study *s)
{
    const ak_study *w = s->what;
    char name[80], path[AK__STUDY_PATH], owner[32] = "";
    const char *parent = w->parent ? w->parent : ak_env_text("AK_RUNS", "runs");
    ak__format(name, sizeof name, "%s%s", w->name, s->quick ? "-quick" : "");
    s->name = ak__ctx_strdup(s->ctx, name);
    if (!s->name)
        return false;
    if (!ak__format(s->folder, sizeof s->folder, "%s/%s", parent, name)) {
        ak_fail(s->ctx, AK_ERR_VALUE, "the folder's path is too long");
        return false;
    }
    for (size_t i = 1; i <= strlen(s->folder); i++) {
        if (s->folder[i] != '/' && s->folder[i])
            continue;
        ak__format(path, i + 1, "%s", s->folder);
        if (mkdir(path, 0777) != 0 && errno != EEXIST) {
            ak_fail(s->ctx, AK_ERR_IO, "%s: can not be made: %s", path, strerror(errno));
            return false;
        }
    }
    ak__format(path, sizeof path, "%s/lock", s->folder);
    s->lock = ak__open_file(path, O_RDWR | O_CREAT | O_NONBLOCK);
    if (s->lock < 0 || flock(s->lock, LOCK_EX | LOCK_NB) != 0) {
        const bool    taken = s->lock >= 0 && errno == EWOULDBLOCK;
        const char   *why = strerror(errno);
        const ssize_t n = taken ? pread(s->lock, owner, sizeof owner - 1, 0) : 0;
        owner[n > 0 ? n : 0] = '\0';
        if (taken)
            ak_fail(s->ctx, AK_ERR_STATE, "%s: process %s is at work in this folder; wait for it, "
                    "or set AK_RUNS to another one", s->folder, owner);
        else
            ak_fail(s->ctx, AK_ERR_IO, "%s: can not be locked: %s", path, why);
        return false;
    }
    ak__format(owner, sizeof owner, "%ld", (long)getpid());
    return ftruncate(s->lock, 0) == 0 && ak__write_all(s->lock, owner, strlen(owner)) ? true :
        (ak_fail(s->ctx, AK_ERR_IO, "%s: writing failed: %s", path, strerror(errno)), false);
}

/* ---- progress and memory --------------------------------------------------------------------- */

static void draw(ak__study *s, const ak_study_run *run, double share)
{
    FILE        *file = s->what->progress ? s->what->progress : stderr;
    const bool   terminal = isatty(fileno(file));
    const double now = ak__now(), done = s->made + share;
    if (share < 1 && share > 0 && now - s->drawn < (terminal ? 0.2 : 30))
        return;
    s->drawn = now;
    fprintf(file, "%sstudy %s  run %d/%d  %s seed %d  %3.0f %%", terminal ? "\r" : "", s->name,
            s->there + s->made + 1, s->total, s->what->arms[run->arm].name, run->seed,
            100 * share);
    if (done > 0) {
        const double left = (now - s->begun) / done * (s->to_make - done);
        fprintf(file, "  ETA %d:%02d:%02d", (int)(left / 3600), (int)(left / 60) % 60,
                (int)left % 60);
    }
    fprintf(file, terminal && share < 1 ? "   " : "\n");
    fflush(file);
}

/* The most memory that the process holds is counted anew for each run, where the system does. */
static void reset_peak(void)
{
    const int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (write(fd, "5", 1) != 1) {
        /* then it is the peak of all runs so far */
    }
    close(fd);
}

static double peak_megabytes(void)
{
    char  line[256];
    long  kib = 0;
    FILE *file = fopen("/proc/self/status", "re");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "VmHWM: %ld", &kib) == 1)
            break;
    if (file)
        fclose(file);
    return (double)kib * 1024e-6;
}

/* ---- a run ----------------------------------------------------------------------------------- */

static void keep_message(void *user, ak_status status, const char *message)
{
    ak_study_run *run = user;
    if (!*run->message)
        ak__format(run->message, sizeof run->message, "%s (%s)", message, ak_status_name(status));
}

static ak_status put_items(const ak_study_run *run)
{
    ak__study *s = run->study;
    ak_array   arrays[AK__LIST_MAX];
    char       path[AK__STUDY_PATH];
    int        n = 0;
    for (int i = 0; i < s->measures; i++)
        if (run->each[i])
            arrays[n++] = (ak_array){ s->what->measures[i].name, AK_TYPE_F64,
                AK_SHAPE(run->figure[i].n), run->figure[i].n, run->each[i] };
    if (n == 0)
        return AK_OK;
    ak__format(path, sizeof path, "%s/items.npz", ak_run_folder(run->folder));
    return ak_npz_write_arrays(run->ctx, path, arrays, n, true);
}

/* All that a run has measured becomes part of study.jsonl at once. */
static void keep_results(ak_study_run *run, double seconds, double megabytes)
{
    ak__study  *s = run->study;
    const char *folder = strrchr(ak_run_folder(run->folder), '/') + 1;
    for (int i = 0; i < s->measures; i++)
        if (!run->given[i])
            ak_fail(run->ctx, AK_ERR_VALUE, "the run has handed over no %s",
                    s->what->measures[i].name);
    if (*run->message || put_items(run))
        return;
    for (int i = 0; i < s->measures; i++)
        ak__study_add(s, (ak__record){ .key = ak__study_key(s, run->arm, run->seed),
            .arm = s->what->arms[run->arm].name, .seed = run->seed, .folder = folder,
            .measure = s->what->measures[i].name, .value = run->figure[i].value,
            .lo = run->figure[i].lo, .hi = run->figure[i].hi,
            .n = run->each[i] ? run->figure[i].n : 0, .protocol = run->figure[i].protocol,
            .seconds = seconds, .megabytes = megabytes });
    ak__study_write(s, false);
}

static void make_run(ak__study *s, ak_study_run *run, int arm, int seed)
{
    char name[128];
    memset(run, 0, sizeof *run);
    run->study = s;
    run->arm = arm;
    run->seed = seed;
    reset_peak();
    const double begun = ak__now();
    run->ctx = ak_open((ak_options){ .seed = (uint64_t)seed });
    if (!run->ctx) {
        s->failed++;
        fprintf(stderr, "study %s: out of memory\n", s->name);
        return;
    }
    ak_on_error(run->ctx, keep_message, run);
    /* The key is in the name: a checkpoint of other settings or other code is never gone on with */
    ak__format(name, sizeof name, "%s-%d-%08" PRIx32, s->what->arms[arm].name, seed,
               (uint32_t)ak__study_key(s, arm, seed));
    run->folder = ak_run_open(run->ctx, name, (ak_run_options){ .parent = s->folder,
                                                                .resume = s->resume });
    if (run->folder) {
        ak_run_setting(run->folder, "arm", "%s", s->what->arms[arm].name);
        ak_run_setting(run->folder, "arm_settings", "%s",
                       s->what->arms[arm].settings ? s->what->arms[arm].settings : "");
        ak_run_setting(run->folder, "study_settings", "%s",
                       s->what->settings ? s->what->settings : "");
        draw(s, run, 0);
        s->what->arms[arm].run(run, s->what->arms[arm].user);
        ak__run_describe(run->folder);
        if (!*run->message)
            keep_results(run, ak__now() - begun, peak_megabytes());
    }
    if (*run->message) {
        s->failed++;
        fprintf(stderr, "study %s: %s with seed %d failed: %s\n", s->name,
                s->what->arms[arm].name, seed, run->message);
    } else {
        draw(s, run, 1);
    }
    for (int i = 0; i < s->measures; i++)
        ak__free(run->each[i]);
    ak_close(run->ctx);
    s->made++;
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* What the table says, into its file and onto the screen. */
static int finish(ak__study *s)
{
    char      path[AK__STUDY_PATH], block[4096];
    ak__bytes all = { 0 };
    FILE     *table = tmpfile(), *out = s->what->out ? s->what->out : stdout;
    if (!table) {
        ak_fail(s->ctx, AK_ERR_IO, "no temporary file can be made: %s", strerror(errno));
        return 0;
    }
    const int missed = ak__study_table(s, table);
    rewind(table);
    for (size_t n; (n = fread(block, 1, sizeof block, table)) > 0; )
        ak__bytes_add(s->ctx, &all, block, n);
    fclose(table);
    if (!ak_error(s->ctx)) {
        if (fwrite(all.data, 1, all.n, out) != all.n || fflush(out) != 0)
            ak_fail(s->ctx, AK_ERR_IO, "the table can not be written: %s", strerror(errno));
        ak__format(path, sizeof path, "%s/table.txt", s->folder);
        ak__file_write_atomic(s->ctx, path, all.data, all.n);
    }
    ak__bytes_free(&all);
    ak__study_write(s, true);
    return missed;
}

static void list_runs(ak__study *s, const bool *done)
{
    FILE *out = s->what->out ? s->what->out : stdout;
    fprintf(out, "study %s: %d arms, %d seeds, in %s\n", s->name, s->arms, s->seeds, s->folder);
    for (int arm = 0; arm < s->arms; arm++) {
        int there = 0;
        for (int seed = 0; seed < s->seeds; seed++)
            there += done[arm * s->seeds + seed];
        fprintf(out, "  %-20s %3d of %d runs are there%s\n", s->what->arms[arm].name, there,
                s->seeds, arm == s->baseline ? "   (baseline)" : "");
    }
    for (int i = 0; i < s->claims; i++)
        fprintf(out, "  claim %s: %s\n", s->what->claims[i].name,
                s->what->claims[i].text ? s->what->claims[i].text : "");
}

/* Returns how many claims are not shown. */
static int make_all(ak__study *s, bool list)
{
    bool         *done = ak__ctx_alloc(s->ctx, (size_t)(s->arms * s->seeds));
    ak_study_run *run = ak__ctx_alloc(s->ctx, sizeof *run);
    if (!done || !run)
        return 0;
    for (int arm = 0; arm < s->arms; arm++)
        for (int seed = 1; seed <= s->seeds; seed++) {
            bool *d = &done[arm * s->seeds + seed - 1];
            *d = ak__study_done(s, arm, seed);
            s->there += *d && s->wanted[arm];
            s->total += s->wanted[arm];
        }
    if (list) {
        list_runs(s, done);
        return 0;
    }
    s->to_make = s->total - s->there;
    s->begun = ak__now();
    /* Seed by seed, so that a study that is stopped has whole rows. */
    for (int seed = 1; seed <= s->seeds; seed++)
        for (int arm = 0; arm < s->arms && !ak_error(s->ctx); arm++)
            if (s->wanted[arm] && !done[arm * s->seeds + seed - 1])
                make_run(s, run, arm, seed);
    return ak_error(s->ctx) ? 0 : finish(s);
}

int ak_study_main(int argc, char **argv, const ak_study *study)
{
    if (!AK__GIVEN(NULL, argv) || !AK__GIVEN(NULL, study))
        return AK_STUDY_USAGE;
    ak__study s = { .what = study, .lock = -1 };
    bool      list = false;
    s.last = &s.records;
    const char *wrong = examine(&s);
    if (wrong) {
        fprintf(stderr, "study %s: %s\n", study->name ? study->name : "", wrong);
        return AK_STUDY_USAGE;
    }
    s.ctx = ak_open((ak_options){ .quiet = true });
    if (!s.ctx)
        return AK_STUDY_FAILED;
    ak_on_error(s.ctx, NULL, NULL);
    s.wanted = ak__ctx_alloc(s.ctx, (size_t)s.arms);
    int code = s.wanted ? command_line(&s, argc, argv, &list) : AK_STUDY_FAILED, missed = 0;
    if (code >= 0) {
        ak_close(s.ctx);
        return code;
    }
    if (open_folder(&s)) {
        s.code = hash_code(&s);
        if (!ak_error(s.ctx) && !ak__study_read(&s))
            missed = make_all(&s, list);
    }
    if (ak_error(s.ctx))
        fprintf(stderr, "study %s: %s\n", study->name, ak_error_message(s.ctx));
    code = ak_error(s.ctx) || s.failed ? AK_STUDY_FAILED
         : missed && !s.quick ? AK_STUDY_NOT_SHOWN : AK_STUDY_SHOWN;
    if (s.lock >= 0)
        close(s.lock);
    ak_close(s.ctx);
    return code;
}

/* ---- inside of a run ------------------------------------------------------------------------- */

ak_ctx *ak_study_ctx(ak_study_run *run)
{
    return AK__GIVEN(NULL, run) ? run->ctx : NULL;
}

const char *ak_study_arm_name(const ak_study_run *run)
{
    return AK__GIVEN(NULL, run) ? run->study->what->arms[run->arm].name : "";
}

int ak_study_seed(const ak_study_run *run)
{
    return AK__GIVEN(NULL, run) ? run->seed : 0;
}

bool ak_study_quick(const ak_study_run *run)
{
    return AK__GIVEN(NULL, run) && run->study->quick;
}

const char *ak_study_data(const ak_study_run *run)
{
    return AK__GIVEN(NULL, run) ? run->study->data : NULL;
}

const char *ak_study_path(ak_study_run *run, const char *file)
{
    if (!AK__GIVEN(NULL, run) || !AK__GIVEN(run->ctx, file))
        return NULL;
    return ak_run_path(run->folder, file);
}

ak_run *ak_study_folder(ak_study_run *run)
{
    return AK__GIVEN(NULL, run) && !run->choosing ? run->folder : NULL;
}

bool ak_study_progress(ak_study_run *run, int64_t done, int64_t of)
{
    if (!AK__GIVEN(NULL, run))
        return false;
    if (done < 0 || of < 1 || done > of)
        ak_fail(run->ctx, AK_ERR_VALUE, "study_progress: %lld of %lld parts", (long long)done,
                (long long)of);
    else if (done < of)
        draw(run->study, run, (double)done / (double)of);
    if (!run->choosing && !ak_error(run->ctx))
        ak__run_describe(run->folder);      /* before a kill, and after settings of the arm's own */
    return !*run->message && !ak_error(run->ctx);
}

/* The place of a measure that is to be given now; -1 after an error. */
static int place(ak_study_run *run, const char *measure)
{
    const int i = ak__study_measure_index(run->study, measure);
    if (run->choosing)
        ak_fail(run->ctx, AK_ERR_STATE, "study: %s is handed over while settings are chosen: only "
                "validation items may choose, and their score is what the function returns",
                measure);
    else if (i < 0)
        ak_fail(run->ctx, AK_ERR_VALUE, "study: no measure is named '%s'", measure);
    else if (run->given[i])
        ak_fail(run->ctx, AK_ERR_VALUE, "study: %s is given twice", measure);
    return ak_error(run->ctx) ? -1 : i;
}

ak_status ak_study_result(ak_study_run *run, const char *measure, const double *each, int64_t n,
                          const char *protocol)
{
    if (!AK__GIVEN(NULL, run) || !AK__GIVEN(run->ctx, measure) || !AK__GIVEN(run->ctx, each))
        return ak__refused(run ? run->ctx : NULL);
    const int i = ak_error(run->ctx) ? -1 : place(run, measure);
    if (i < 0)
        return ak_error(run->ctx);
    const ak_measure m = ak_measure_mean(run->ctx, each, n, (ak_bootstrap_options){ 0 });
    if (ak_error(run->ctx))
        return ak_error(run->ctx);
    run->each[i] = ak__malloc((size_t)n * sizeof *each);
    if (!run->each[i])
        return ak__fail_memory(run->ctx, (size_t)n * sizeof *each);
    memcpy(run->each[i], each, (size_t)n * sizeof *each);
    run->figure[i] = m;
    if (protocol)
        ak__format(run->figure[i].protocol, sizeof m.protocol, "%s", protocol);
    run->given[i] = true;
    return AK_OK;
}

ak_status ak_study_figure(ak_study_run *run, const char *measure, ak_measure figure)
{
    if (!AK__GIVEN(NULL, run) || !AK__GIVEN(run->ctx, measure))
        return ak__refused(run ? run->ctx : NULL);
    const int i = ak_error(run->ctx) ? -1 : place(run, measure);
    if (i < 0)
        return ak_error(run->ctx);
    if (!isfinite(figure.value) || isnan(figure.lo) || isnan(figure.hi))
        return ak_fail(run->ctx, AK_ERR_NUMBER, "study: %s is %g [%g, %g]", measure, figure.value,
                       figure.lo, figure.hi);
    run->figure[i] = figure;
    run->given[i] = true;
    return AK_OK;
}

/* ---- choosing -------------------------------------------------------------------------------- */

static const ak__record *score_of(const ak_study_run *run, const char *what, const char *setting)
{
    const uint64_t key = ak__study_key(run->study, run->arm, run->seed);
    for (const ak__record *r = run->study->records; r; r = r->next)
        if (r->choice && r->key == key && strcmp(r->measure, what) == 0 &&
            strcmp(r->folder, setting) == 0)
            return r;
    return NULL;
}

/* Try setting i in a context of its own; NaN after an error of it, recorded in the run's. */
static double try_setting(ak_study_run *run, int i, ak_study_score_fn score, void *user)
{
    ak_ctx *outer = run->ctx, *ctx = ak_open((ak_options){ .seed = (uint64_t)run->seed });
    if (!ctx) {
        ak__fail_memory(outer, 1);
        return (double)NAN;
    }
    ak_on_error(ctx, keep_message, run);
    run->ctx = ctx;
    run->choosing = true;
    const double value = score(run, ctx, i, user);
    run->choosing = false;
    run->ctx = outer;
    const ak_status status = ak_close(ctx);
    if (status)
        ak_fail(outer, status, "study: setting %d could not be tried", i);
    else if (!isfinite(value))
        ak_fail(outer, AK_ERR_NUMBER, "study: the score of setting %d is %g", i, value);
    return status ? (double)NAN : value;
}

int ak_study_choose(ak_study_run *run, const char *what, const char *const *names, int n,
                    const char *validation, ak_study_score_fn score, void *user)
{
    if (!AK__GIVEN(NULL, run) || !AK__GIVEN(run->ctx, what) || !AK__GIVEN(run->ctx, names) ||
        !AK__GIVEN(run->ctx, validation) || !AK__GIVEN(run->ctx, score) || ak_error(run->ctx))
        return -1;
    if (n < 1 || n > AK__LIST_MAX || run->choosing) {
        ak_fail(run->ctx, run->choosing ? AK_ERR_STATE : AK_ERR_VALUE, "study_choose %s: %s", what,
                run->choosing ? "a choice is being made" : "settings are needed, 1 to 999");
        return -1;
    }
    int    best = -1;
    double most = 0;
    for (int i = 0; i < n && !ak_error(run->ctx); i++) {
        if (!AK__GIVEN(run->ctx, names[i]))
            return -1;
        const ak__record *r = score_of(run, what, names[i]);
        const double value = r ? r->value : try_setting(run, i, score, user);
        if (ak_error(run->ctx))
            return -1;
        if (!r) {
            ak__study_add(run->study, (ak__record){ .choice = true, .n = i, .value = value,
                .key = ak__study_key(run->study, run->arm, run->seed), .seed = run->seed,
                .arm = ak_study_arm_name(run), .measure = what, .folder = names[i],
                .protocol = validation });
            if (ak__study_write(run->study, false))
                ak_fail(run->ctx, AK_ERR_IO, "%s", ak_error_message(run->study->ctx));
        }
        if (best < 0 || value > most) {
            best = i;
            most = value;
        }
    }
    return ak_error(run->ctx) ? -1 : best;
}
