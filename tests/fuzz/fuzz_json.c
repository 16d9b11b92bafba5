/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: settings and measurements as JSON; another library reads them and finds the same. */
#include "fuzz.h"

#include "report/json_text.h"

#include <jansson.h>
#include <string.h>

/* The bytes up to a zero as a text, and the first eight as a number. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char  *text = calloc(size + 1, 1);
    double number = 0;
    fuzz_require(text);
    if (size)
        memcpy(text, data, size);
    memcpy(&number, data ? data : (const uint8_t *)"", size < sizeof number ? size : sizeof number);

    ak_ctx  *ctx = fuzz_open();
    ak__json j = { .ctx = ctx, .indent = size % 2 ? 4 : 0 };
    ak__json_open(&j, NULL);
    ak__json_setting(&j, "setting", text);
    ak__json_text(&j, "text", text);
    ak__json_number(&j, "number", number);
    ak__json_close(&j);
    fuzz_require(!j.failed);

    json_t *all = json_loadb((const char *)j.text.data, j.text.n, 0, NULL);
    fuzz_require(all);
    const json_t *s = json_object_get(all, "setting"), *t = json_object_get(all, "text");
    const json_t *n = json_object_get(all, "number");
    fuzz_require(json_is_string(t) && (strstr(json_string_value(t), "\xef\xbf\xbd") ||
                                       strcmp(json_string_value(t), text) == 0));
    fuzz_require(json_is_string(s) ? json_equal(s, t) : json_is_boolean(s) || json_is_number(s));
    if (json_is_number(s))
        fuzz_require(json_number_value(s) >= strtod(text, NULL) &&
                     json_number_value(s) <= strtod(text, NULL));
    if (json_is_number(n))
        fuzz_require(json_number_value(n) >= number && json_number_value(n) <= number);
    else
        fuzz_require(number - number != 0);     /* infinite or NaN */
    json_decref(all);
    ak__json_free(&j);
    free(text);
    fuzz_close(ctx);
    return 0;
}
