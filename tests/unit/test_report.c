/* SPDX-License-Identifier: Apache-2.0 */
/* Run folders are never written over; what is in them is valid JSON; lines end with the hash. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
