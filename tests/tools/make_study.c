/* SPDX-License-Identifier: Apache-2.0 */
/* A study of two simulated arms, for the test of tools/claims. STUDY_GAIN: by how much the first is
 * better; STUDY_FAILS: its runs fail; STUDY_SILENT: no claims. */
#include <stdlib.h>

#include <akin/study.h>
#include <akin/tensor.h>

enum { ITEMS = 200 };

static void simulated(ak_study_run *run, void *user)
{
    double         right[ITEMS];
    const uint64_t seed = (uint64_t)ak_study_seed(run);
    for (uint64_t i = 0; i < ITEMS; i++)
        right[i] = ak_random_uniform(seed, 1, i) < 0.4 + *(const double *)user;
    if (getenv("STUDY_FAILS"))
        ak_fail(ak_study_ctx(run), AK_ERR_VALUE, "as was asked for");
    ak_study_result(run, "accuracy", right, ITEMS, "simulated");
}

int main(int argc, char **argv)
{
    double gain = strtod(ak_env_text("STUDY_GAIN", "0"), NULL), none = 0;
    return ak_study_main(argc, argv, &(ak_study){
        .name = ak_env_text("STUDY_NAME", "made"), .settings = ak_env_text("STUDY_GAIN", "0"),
        .seeds = 3,
        .measures = (ak_study_measure[]){ { "accuracy", "%", .scale = 100 }, { 0 } },
        .arms = (ak_study_arm[]){ { "new", simulated, &gain, NULL },
                                  { "old", simulated, &none, NULL }, { 0 } },
        .claims = getenv("STUDY_SILENT") ? NULL : (ak_study_claim[]){
            { "better", "new is better (than old)", "accuracy", "new", "old", .margin = 0 },
            { "usable", NULL, "accuracy", "old", NULL, .margin = 0.1 }, { 0 } } });
}
