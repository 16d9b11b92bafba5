/* SPDX-License-Identifier: Apache-2.0 */
/* Run folders are never written over; what is in them is valid JSON; lines end with the hash. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <math.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <akin/io.h>
#include <akin/report.h>
#include <akin/tensor.h>

static char folder[64];

static ak_ctx *quiet(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 42, .quiet = true });
    ak_on_error(ctx, NULL, NULL);
    ak_fill(ak_param(ctx, "w", AK_SHAPE(3), 0), 1.5);
    return ctx;
}

static void make_folder(void)
{
    strcpy(folder, "/tmp/akin-report-XXXXXX");
    cr_assert_not_null(mkdtemp(folder));
}

static void drop_folder(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    cr_assert_eq(system(command), 0);
}

TestSuite(report, .init = make_folder, .fini = drop_folder);

static json_t *load(const ak_run *run, const char *file)
{
    char path[256];
    json_error_t error;
    snprintf(path, sizeof path, "%s/%s", ak_run_folder(run), file);
    json_t *json = json_load_file(path, 0, &error);
    cr_assert_not_null(json, "%s: %s", path, error.text);
    return json;
}

static const ak_value one[] = { { "loss", 1.25 }, { "epoch", 3 }, { "missing", (double)NAN },
                                { 0 } };

Test(report, folders_are_numbered_and_kept)
{
    ak_ctx *ctx = quiet();
    const ak_run_options here = { .parent = folder };
    char expected[96];
    for (int i = 1; i <= 3; i++) {
        ak_run *run = ak_run_open(ctx, "name", here);
        cr_assert_not_null(run, "%s", ak_error_message(ctx));
        snprintf(expected, sizeof expected, i == 1 ? "%s/name" : "%s/name-%d", folder, i);
        cr_assert_str_eq(ak_run_folder(run), expected);
        cr_assert_not(ak_run_resumed(run));
        ak_run_setting(run, "which", "%d", i);
        cr_assert_eq(ak_run_log(run, "epoch", NULL, one), AK_OK);
    }
    /* resume takes the newest, appends, and leaves its settings as they were */
    ak_run *again = ak_run_open(ctx, "name", (ak_run_options){ .parent = folder, .resume = true });
    cr_assert_str_eq(ak_run_folder(again), expected);
    cr_assert(ak_run_resumed(again));
    ak_run_setting(again, "which", "%d", 99);
    cr_assert_eq(ak_run_log(again, "epoch", NULL, one), AK_OK);
    json_t *settings = load(again, "settings.json");
    json_t *resumed = load(again, "settings-resumed.json");
    cr_assert_eq(json_integer_value(json_object_get(settings, "which")), 3);
    cr_assert_eq(json_integer_value(json_object_get(resumed, "which")), 99);
    json_decref(settings);
    json_decref(resumed);
    /* resume without an earlier run begins one */
    ak_run *fresh = ak_run_open(ctx, "other", (ak_run_options){ .parent = folder, .resume = true });
    cr_assert_not(ak_run_resumed(fresh));
    cr_assert_eq(ak_close(ctx), AK_OK);
}

Test(report, files_are_valid_json)
{
    ak_ctx *ctx = quiet();
    setenv("AK_HYGIENE_TEST", "a \"quoted\" text", 1);
    ak_run *run = ak_run_open(ctx, "name", (ak_run_options){ .parent = folder });
    ak_run_setting(run, "lr", "%g", 2e-3);
    ak_run_setting(run, "text", "%s", "5 crops");
    ak_run_setting(run, "flag", "%s", "true");
    cr_assert_eq(ak_run_log(run, "first", "with \\ and \n in it", one), AK_OK);
    cr_assert_eq(ak_run_log(run, "second", NULL, one), AK_OK);

    json_t *s = load(run, "settings.json");
    cr_assert_float_eq(json_real_value(json_object_get(s, "lr")), 2e-3, 1e-12);
    cr_assert_str_eq(json_string_value(json_object_get(s, "text")), "5 crops");
    cr_assert(json_is_true(json_object_get(s, "flag")));
    json_t *akin = json_object_get(s, "akin");
    cr_assert_eq(json_integer_value(json_object_get(akin, "seed")), 42);
    cr_assert_str_eq(json_string_value(json_object_get(akin, "cpu")), ak_cpu_name());
    cr_assert_str_eq(json_string_value(json_object_get(akin, "version")), ak_version());
    cr_assert_eq(json_integer_value(json_object_get(akin, "threads")), ak_threads());
    cr_assert_eq(json_boolean_value(json_object_get(akin, "exact_conv")), ak_exact_conv(ctx));
    cr_assert_str_eq(json_string_value(json_object_get(json_object_get(s, "environment"),
                                                       "AK_HYGIENE_TEST")), "a \"quoted\" text");
    json_decref(s);

    char path[128], line[512], hash[24];
    snprintf(path, sizeof path, "%s/metrics.jsonl", ak_run_folder(run));
    snprintf(hash, sizeof hash, "\"hash\":\"%08x\"}\n", (unsigned)ak_hash(ctx, "*"));
    FILE *file = fopen(path, "r");
    int lines = 0;
    for (; fgets(line, sizeof line, file); lines++) {
        json_t *json = json_loads(line, 0, NULL);
        cr_assert_not_null(json, "%s", line);
        cr_assert_float_eq(json_real_value(json_object_get(json, "loss")), 1.25, 0);
        cr_assert_eq(json_integer_value(json_object_get(json, "epoch")), 3);
        cr_assert(json_is_null(json_object_get(json, "missing")));
        cr_assert_str_eq(line + strlen(line) - strlen(hash), hash);
        json_decref(json);
    }
    fclose(file);
    cr_assert_eq(lines, 2);
    cr_assert_eq(ak_run_setting(run, "late", "1"), AK_ERR_STATE);
    ak_close(ctx);
}

Test(report, refuses_misuse)
{
    ak_ctx *ctx = quiet();
    const char *const names[] = { "", "a/b", "..", ".hidden" };
    for (int i = 0; i < 4; i++) {
        cr_assert_null(ak_run_open(ctx, names[i], (ak_run_options){ .parent = folder }));
        cr_assert_eq(ak_step_end(ctx), AK_ERR_VALUE, "name '%s'", names[i]);
    }
    char path[128];
    snprintf(path, sizeof path, "%s/file", folder);
    fclose(fopen(path, "w"));
    cr_assert_null(ak_run_open(ctx, "name", (ak_run_options){ .parent = path }));
    cr_assert_eq(ak_step_end(ctx), AK_ERR_IO);
    ak_run *run = ak_run_open(ctx, "name", (ak_run_options){ .parent = folder });
    ak_run_setting(run, "a", "1");
    cr_assert_eq(ak_run_setting(run, "a", "2"), AK_ERR_VALUE);
    ak_close(ctx);
}

Test(report, progress_lines_end_with_the_hash)
{
    ak_ctx *ctx = quiet();
    FILE *file = tmpfile();
    ak_progress *p = ak_progress_open(ctx, (ak_progress_options){
        .epochs = 2, .steps = 3, .views = 10, .chance = 6.2364, .file = file, .every = 1e-9 });
    for (int epoch = 0; epoch < 2; epoch++) {
        for (int step = 0; step < 3; step++)
            ak_progress_step(p, 5 - step - epoch, 0.25 * step);
        cr_assert_float_eq(ak_progress_loss(p), 4 - epoch, 1e-12);
        cr_assert_float_eq(ak_progress_accuracy(p), 0.25, 1e-12);
        ak_progress_epoch(p);
        cr_assert_float_eq(ak_progress_loss(p), 4 - epoch, 1e-12);
    }
    char line[512], hash[16];
    snprintf(hash, sizeof hash, "  %08x\n", (unsigned)ak_hash(ctx, "*"));
    rewind(file);
    int lines = 0;
    for (; fgets(line, sizeof line, file); lines++) {
        cr_assert_str_eq(line + strlen(line) - strlen(hash), hash, "%s", line);
        cr_assert_null(strchr(line, '\r'));
        cr_assert(strstr(line, "(chance 6.236)"), "%s", line);
        if (lines == 2)
            cr_assert(strstr(line, "epoch 1/2  step 3/3  loss 4.000"), "%s", line);
        if (lines == 5) {
            cr_assert(strstr(line, "epoch 2/2  step 3/3  loss 3.000"), "%s", line);
            cr_assert(strstr(line, "took") && strstr(line, " MB  "), "%s", line);
        }
        if (lines == 1)
            cr_assert(strstr(line, "ETA") && strstr(line, "views/s"), "%s", line);
    }
    cr_assert_eq(lines, 6);
    fclose(file);
    cr_assert_null(ak_progress_open(ctx, (ak_progress_options){ .epochs = 1 }));
    cr_assert_eq(ak_step_end(ctx), AK_ERR_VALUE);
    ak_close(ctx);
}

Test(report, environment)
{
    ak_ctx *ctx = quiet();
    setenv("AK_N", "17", 1);
    cr_assert_eq(ak_env_int(ctx, "AK_N", 5), 17);
    cr_assert_str_eq(ak_env_text("AK_N", "x"), "17");
    setenv("AK_N", "", 1);
    cr_assert_eq(ak_env_int(ctx, "AK_N", 5), 5);
    cr_assert_eq(ak_error(ctx), AK_OK);
    const char *const bad[] = { "x", "1x", "-3", "1.5", "99999999999999999999" };
    for (int i = 0; i < 5; i++) {
        setenv("AK_N", bad[i], 1);
        cr_assert_eq(ak_env_int(ctx, "AK_N", 5), 5);
        cr_assert(strstr(ak_error_message(ctx), "AK_N"));
        cr_assert_eq(ak_step_end(ctx), AK_ERR_VALUE, "'%s'", bad[i]);
    }
    ak_close(ctx);
}

Test(report, average)
{
    ak_average a = { 0, 0 };
    cr_assert(isnan(ak_average_get(&a)));
    ak_average_add(&a, 1);
    ak_average_add(&a, 4);
    cr_assert_float_eq(ak_average_get(&a), 2.5, 0);
}

/* A run that was stopped behind the last step of an epoch goes on with the next one. */
Test(report, resumed_at_the_end_of_an_epoch)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 1, .quiet = true });
    FILE   *file = tmpfile();
    cr_assert(ctx && file);
    ak_progress *p = ak_progress_open(ctx, (ak_progress_options){
        .epochs = 2, .steps = 3, .step = 3, .every = 100, .file = file });
    ak_progress_epoch(p);
    for (int i = 0; i < 3; i++)
        ak_progress_step(p, 2, 0.5);
    ak_progress_epoch(p);
    char line[512];
    rewind(file);
    cr_assert_not_null(fgets(line, sizeof line, file));
    cr_expect(strstr(line, "epoch 2/2  step 3/3  loss 2.000"), "%s", line);
    fclose(file);
    ak_close(ctx);
}

/* ---- what is written is what was given ------------------------------------------------------- */

static void expect_text(const json_t *all, const char *name, const char *text)
{
    const json_t *v = json_object_get(all, name);
    cr_expect(json_is_string(v) && strcmp(json_string_value(v), text) == 0, "%s is %s, not \"%s\"",
              name, json_is_string(v) ? json_string_value(v) : "no text", text);
}

/* The member of settings.json as it is written. */
static void expect_written(const ak_run *run, const char *line)
{
    static char text[20000];
    char        path[256];
    snprintf(path, sizeof path, "%s/settings.json", ak_run_folder(run));
    FILE *file = fopen(path, "r");
    cr_assert_not_null(file, "%s", path);
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
    cr_expect_not_null(strstr(text, line), "no %s in %s", line, text);
}

Test(report, settings_keep_their_digits)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = UINT64_MAX, .quiet = true });
    ak_on_error(ctx, NULL, NULL);
    ak_run *run = ak_run_open(ctx, "name", (ak_run_options){ .parent = folder });
    static const char *const numbers[] = { "0", "-7", "9007199254740991", "0.5", "-1.50", "1e-05",
                                           "2E+3", "0.0", "123456789.012345", "-0.0" };
    static const char *const texts[] = { "18446744073709551615", "9007199254740993", "00451923",
        "1.", ".5", "+3", "-", "", "0x10", "inf", "nan", "1e999", "1e-400", "1e", "1.5e+", "-0",
        "0.1234567890123456", "1 ", "1,5", "True", "a \"b\" \\ \t\x01 \xc3\xa9 \xf0\x9f\x99\x82" };
    char name[32], line[96], big[3000];
    for (int i = 0; i < 10; i++) {
        snprintf(name, sizeof name, "number%d", i);
        cr_assert_eq(ak_run_setting(run, name, "%s", numbers[i]), AK_OK);
    }
    for (int i = 0; i < 21; i++) {
        snprintf(name, sizeof name, "text%d", i);
        cr_assert_eq(ak_run_setting(run, name, "%s", texts[i]), AK_OK);
    }
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = 0;
    cr_assert_eq(ak_run_setting(run, "big", "%s", big), AK_OK);
    cr_assert_eq(ak_run_setting(run, "bad", "a\xff\xc3(\xed\xa0\x80"), AK_OK);
    cr_expect_eq(ak_run_setting(run, "akin", "1"), AK_ERR_VALUE);
    ak_step_end(ctx);
    cr_assert_eq(ak_run_log(run, "x", NULL, one), AK_OK);
    json_t *s = load(run, "settings.json");
    for (int i = 0; i < 10; i++) {
        snprintf(line, sizeof line, "\"number%d\": %s,\n", i, numbers[i]);
        expect_written(run, line);
        snprintf(name, sizeof name, "number%d", i);
        cr_expect_eq(json_number_value(json_object_get(s, name)), strtod(numbers[i], NULL));
    }
    for (int i = 0; i < 21; i++) {
        snprintf(name, sizeof name, "text%d", i);
        expect_text(s, name, texts[i]);
    }
    expect_text(s, "big", big);
    expect_text(s, "bad", "a\xef\xbf\xbd\xef\xbf\xbd(\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    expect_text(json_object_get(s, "akin"), "seed", "18446744073709551615");
    json_decref(s);
    ak_close(ctx);
}

Test(report, measurements_keep_their_digits)
{
    ak_ctx *ctx = quiet();
    ak_run *run = ak_run_open(ctx, "name", (ak_run_options){ .parent = folder });
    static const double values[] = { 0.1, 1.0 / 3, 1e300, 5e-324, 123456789.123456789, -2.5,
                                     9007199254740993.0, 1e22, 0.1 + 0.2 };
    enum { N = sizeof values / sizeof *values };
    char     names[N][8];
    ak_value list[N + 3] = { { 0 } };
    for (int i = 0; i < N; i++) {
        snprintf(names[i], sizeof names[i], "v%d", i);
        list[i] = (ak_value){ names[i], values[i] };
    }
    list[N] = (ak_value){ "up", (double)INFINITY };
    list[N + 1] = (ak_value){ "down", -(double)INFINITY };
    cr_assert_eq(ak_run_log(run, "x", NULL, list), AK_OK);
    json_t *line = load(run, "metrics.jsonl");
    for (int i = 0; i < N; i++)
        cr_expect_eq(json_number_value(json_object_get(line, names[i])), values[i], "%.17g",
                     values[i]);
    expect_text(line, "up", "inf");
    expect_text(line, "down", "-inf");
    json_decref(line);
    const ak_value taken[] = { { "hash", 1 }, { 0 } }, twice[] = { { "a", 1 }, { "a", 2 }, { 0 } };
    cr_expect_eq(ak_run_log(run, "x", NULL, taken), AK_ERR_VALUE);
    ak_step_end(ctx);
    cr_expect_eq(ak_run_log(run, "x", NULL, twice), AK_ERR_VALUE);
    ak_close(ctx);
}

/* A locale with a decimal comma, made for this test; false where that cannot be done. */
static bool comma_locale(void)
{
    char command[256];
    snprintf(command, sizeof command, "localedef -i de_DE -f UTF-8 %s/de_DE.UTF-8 2>/dev/null",
             folder);
    if (system(command) == 0)       /* before setlocale, which remembers what it has not found */
        setenv("LOCPATH", folder, 1);
    return setlocale(LC_ALL, "de_DE.UTF-8") && *localeconv()->decimal_point == ',';
}

Test(report, decimal_point_in_every_locale)
{
    if (!comma_locale())
        cr_skip_test("no locale with a decimal comma here");
    ak_ctx *ctx = quiet();
    ak_run *run = ak_run_open(ctx, "name", (ak_run_options){ .parent = folder });
    ak_run_setting(run, "tau", "%g", 0.5);
    cr_assert_eq(ak_run_log(run, "x", NULL, one), AK_OK);
    expect_written(run, "\"tau\": 0.5,");
    json_t *line = load(run, "metrics.jsonl");
    cr_expect_eq(json_real_value(json_object_get(line, "loss")), 1.25);
    json_decref(line);
    ak_fail(ctx, AK_ERR_VALUE, "%g is in a message", 0.5);
    cr_expect_not_null(strstr(ak_error_message(ctx), "0.5 is"), "%s", ak_error_message(ctx));
    char path[128], text[16];
    snprintf(path, sizeof path, "%s/t.csv", folder);
    FILE *table = fopen(path, "w");
    fputs("a\n1.5\n", table);
    fclose(table);
    const ak_table *t = ak_table_read(ctx, path, (ak_table_options){ 0 });
    cr_expect(t == NULL, "an error is pending");
    ak_step_end(ctx);
    t = ak_table_read(ctx, path, (ak_table_options){ 0 });
    cr_assert_not_null(t, "%s", ak_error_message(ctx));
    cr_expect_eq(t->values[0], 1.5);
    snprintf(text, sizeof text, "%g", 0.5);
    cr_expect_str_eq(text, "0,5", "the program's own locale stays");
    ak_close(ctx);
}

/* ---- lines that were cut short --------------------------------------------------------------- */

/* Number of lines, each of which must be valid. */
static int valid_lines(const char *path)
{
    char  line[512];
    int   lines = 0;
    FILE *file = fopen(path, "r");
    cr_assert_not_null(file);
    for (; fgets(line, sizeof line, file); lines++) {
        json_t *json = json_loads(line, 0, NULL);
        cr_expect(json && line[strlen(line) - 1] == '\n', "line %d: %s", lines + 1, line);
        json_decref(json);
    }
    fclose(file);
    return lines;
}

Test(report, full_disk_leaves_whole_lines)
{
    ak_ctx *ctx = quiet();
    ak_run *run = ak_run_open(ctx, "name", (ak_run_options){ .parent = folder });
    cr_assert_eq(ak_run_log(run, "first", NULL, one), AK_OK);
    char path[128];
    snprintf(path, sizeof path, "%s/metrics.jsonl", ak_run_folder(run));
    struct stat   s;
    struct rlimit limit, all;
    cr_assert(stat(path, &s) == 0 && getrlimit(RLIMIT_FSIZE, &all) == 0);
    signal(SIGXFSZ, SIG_IGN);
    limit = all;
    limit.rlim_cur = (rlim_t)s.st_size + 20;            /* the next line fits in part */
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    cr_expect_eq(ak_run_log(run, "second", NULL, one), AK_ERR_IO);
    cr_expect_not_null(strstr(ak_error_message(ctx), "metrics.jsonl"), "%s",
                       ak_error_message(ctx));
    ak_step_end(ctx);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &all), 0);
    cr_expect_eq(valid_lines(path), 1);
    cr_expect_eq(ak_run_log(run, "third", NULL, one), AK_OK);
    cr_expect_eq(valid_lines(path), 2);
    ak_close(ctx);
}

/* A process that was killed while it wrote: what it has begun is removed, however long it is. */
Test(report, cut_line_is_removed_before_the_next)
{
    ak_ctx *ctx = quiet();
    ak_run *run = ak_run_open(ctx, "name", (ak_run_options){ .parent = folder });
    cr_assert_eq(ak_run_log(run, "first", NULL, one), AK_OK);
    char path[128];
    snprintf(path, sizeof path, "%s/metrics.jsonl", ak_run_folder(run));
    const int lengths[] = { 1, 4095, 4096, 4097, 20000 };
    for (int i = 0; i < 5; i++) {
        FILE *file = fopen(path, "a");
        for (int k = 0; k < lengths[i]; k++)
            fputc('{', file);
        fclose(file);
        cr_expect_eq(ak_run_log(run, "next", NULL, one), AK_OK);
        cr_expect_eq(valid_lines(path), i + 2);
    }
    cr_assert_eq(unlink(path), 0);
    ak_close(ctx);
    ctx = quiet();
    run = ak_run_open(ctx, "name", (ak_run_options){ .parent = folder, .resume = true });
    cr_assert_eq(mkfifo(path, 0600), 0);
    cr_expect_eq(ak_run_log(run, "x", NULL, one), AK_ERR_IO);
    cr_expect_not_null(strstr(ak_error_message(ctx), "is a FIFO"), "%s", ak_error_message(ctx));
    ak_close(ctx);
}
