/* SPDX-License-Identifier: Apache-2.0 */
/* CSV and TSV: cells, headers, labels, and errors with line and column. */
#include "data_files.h"

#include "io/array.h"

static const ak_table *parse(ak_ctx *ctx, const char *text, ak_table_options options)
{
    return ak__table_parse(ctx, "t.csv", (const uint8_t *)text, strlen(text), options);
}

Test(table, header_numbers_and_text_labels)
{
    ak_ctx         *ctx = quiet();
    const ak_table *t = parse(ctx, "\xef\xbb\xbfwidth,\"kind, of\",height\r\n"
                                   "1.5,cat,-2e3\r\n\r\n .25 ,\"a \"\"dog\"\"\",7\r\n3,cat,4",
                              (ak_table_options){ .label = "kind, of" });
    cr_assert_not_null(t, "%s", ak_error_message(ctx));
    cr_expect_eq(t->rows, 3);
    cr_expect_eq(t->columns, 2);
    cr_expect_str_eq(t->names[0], "width");
    cr_expect_str_eq(t->names[1], "height");
    const double want[] = { 1.5, -2000, 0.25, 7, 3, 4 };
    cr_expect_eq(memcmp(t->values, want, sizeof want), 0);
    cr_expect_eq(t->classes, 2);
    cr_expect_str_eq(t->class_names[0], "cat");
    cr_expect_str_eq(t->class_names[1], "a \"dog\"");
    cr_expect(t->labels[0] == 0 && t->labels[1] == 1 && t->labels[2] == 0);
    ak_tensor *x = ak_table_tensor(ctx, t);
    cr_expect(ak_shape_equal(x->shape, AK_SHAPE(3, 2)));
    cr_expect_eq(ak_at(x, AK_SHAPE(1, 1)), 7);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

Test(table, tabs_no_header_number_labels_skip)
{
    ak_ctx         *ctx = quiet();
    const ak_table *t = parse(ctx, "7\t3\tx\n8\t0\ty\n", (ak_table_options){
        .label = "2", .skip = "3", .no_header = true });
    cr_assert_not_null(t, "%s", ak_error_message(ctx));
    cr_expect(t->rows == 2 && t->columns == 1);
    cr_expect(t->values[0] == 7 && t->values[1] == 8);
    cr_expect(t->labels[0] == 3 && t->labels[1] == 0);      /* the numbers themselves */
    cr_expect_eq(t->classes, 4);
    cr_expect_null(t->class_names);                         /* so they need no names */
    t = parse(ctx, "a;b\n1;2\n", (ak_table_options){ .delimiter = ';' });
    cr_assert_not_null(t, "%s", ak_error_message(ctx));
    cr_expect(t->columns == 2 && !t->labels && t->classes == 0);
    ak_close(ctx);
}

Test(table, missing_values)
{
    static const char *const missing[] = { "", "NA", "N/A", "NaN", "null", "?", "  ", "\"\"" };
    ak_ctx *ctx = quiet();
    for (size_t i = 0; i < sizeof missing / sizeof *missing; i++) {
        char text[64];
        snprintf(text, sizeof text, "a,b\n1,2\n3,%s\n", missing[i]);
        cr_expect_null(parse(ctx, text, (ak_table_options){ 0 }));
        expect_error(ctx, AK_ERR_FORMAT, "line 3, column 2 (\"b\")", "missing");
        const ak_table *t = parse(ctx, text, (ak_table_options){ .keep_missing = true });
        cr_assert_not_null(t);
        cr_expect(isnan(t->values[3]) && t->values[2] == 3);
        cr_expect_null(parse(ctx, text, (ak_table_options){ .label = "b" }));
        expect_error(ctx, AK_ERR_FORMAT, "line 3", "label is missing");
        t = parse(ctx, text, (ak_table_options){ .label = "b", .keep_missing = true });
        cr_assert_not_null(t, "%s", ak_error_message(ctx));
        cr_expect(t->labels[0] == 2 && t->labels[1] == -1 && t->classes == 3);
    }
    ak_close(ctx);
}

Test(table, wrong_tables)
{
    static const struct { const char *text, *where, *word; ak_table_options o; ak_status status; }
    cases[] = {
        { "", "t.csv", "is empty", { 0 }, AK_ERR_FORMAT },
        { "a,b\n", "t.csv", "no rows", { 0 }, AK_ERR_FORMAT },
        { "a,b\n1,2\n1,2,3\n", "line 3", "3 cells", { 0 }, AK_ERR_FORMAT },
        { "a,b\n1\n", "line 2", "1 cells", { 0 }, AK_ERR_FORMAT },
        { "a,b\n1,x2\n", "line 2, column 2", "\"x2\" is no finite number", { 0 }, AK_ERR_FORMAT },
        { "a,b\n1,1e999\n", "line 2", "1e999", { 0 }, AK_ERR_FORMAT },
        { "a,b\n1,0x10\n", "line 2", "0x10", { 0 }, AK_ERR_FORMAT },
        { "a,b\n1,inf\n", "line 2", "inf", { 0 }, AK_ERR_FORMAT },
        { "a,b\n1,\"2\n3\n", "line 2, column 2", "not closed", { 0 }, AK_ERR_FORMAT },
        { "a,b\n1,1.5e\n", "line 2", "\"1.5e\" is no", { 0 }, AK_ERR_FORMAT },
        { "a,b\n1,2 3\n", "line 2, column 2", "\"2 3\" is no", { 0 }, AK_ERR_FORMAT },
        { "a,b\n1,\"5\"6\n", "line 2, column 2", "behind the closing quote", { 0 },
          AK_ERR_FORMAT },
        { "a,b\n\"x\"y,2\n", "line 2, column 1", "behind the closing quote", { .label = "a" },
          AK_ERR_FORMAT },
        { "a,a,b\n1,2,3\n", "columns 1 and 2", "both called \"a\"", { .label = "a" },
          AK_ERR_VALUE },
        { "a,b\n1,2\n", "t.csv", ".delimiter", { .delimiter = '"' }, AK_ERR_VALUE },
        { "a,b\n1,2\n", "t.csv", ".max_bytes", { .max_bytes = -1 }, AK_ERR_VALUE },
        { "a,b\n1,2\n1,0.5\n", "line 3, column 2 (\"b\")", "\"0.5\" is no class number",
          { .label = "b" }, AK_ERR_FORMAT },
        { "a,b\n1,2\n1,-2\n", "line 3", "\"-2\" is no class number", { .label = "b" },
          AK_ERR_FORMAT },
        { "a,b\n1,2147483648\n", "line 2", "\"2147483648\" is no class", { .label = "b" },
          AK_ERR_FORMAT },
        { "a,b\n1,2\n", "\"c\"", "\"a\" to \"b\"", { .label = "c" }, AK_ERR_VALUE },
        { "a,b\n1,2\n", "\"3\"", "2 columns", { .label = "3" }, AK_ERR_VALUE },
        { "a\n1\n", "t.csv", "no column with numbers", { .label = "a" }, AK_ERR_FORMAT },
        { "a,b\nx,y\n", "line 1", "header", { .no_header = true }, AK_ERR_FORMAT },
        { "a,b\n1,\"two\nlines\"\n3,4\n,5\n", "line 5", "missing", { .label = "b" },
          AK_ERR_FORMAT },
    };
    ak_ctx *ctx = quiet();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cr_expect_null(parse(ctx, cases[i].text, cases[i].o), "%s", cases[i].text);
        expect_error(ctx, cases[i].status, cases[i].where, cases[i].word);
    }
    cr_expect_null(ak__table_parse(ctx, "t.csv", (const uint8_t *)"a\n1\0", 4,
                                   (ak_table_options){ 0 }));
    expect_error(ctx, AK_ERR_FORMAT, "line 2, column 1", "zero byte");
    cr_expect_null(ak__table_parse(ctx, "t.csv", (const uint8_t *)"a,b\n1,\"5\0006\"\n", 12,
                                   (ak_table_options){ 0 }));
    expect_error(ctx, AK_ERR_FORMAT, "line 2, column 2", "zero byte");
    cr_expect_null(ak_table_read(ctx, "/no/such.csv", (ak_table_options){ 0 }));
    expect_error(ctx, AK_ERR_NOT_FOUND, "/no/such.csv", "no such file");
    cr_expect(ak_is_poison(ak_table_tensor(ctx, NULL)));
    expect_error(ctx, AK_ERR_VALUE, "table_tensor", "NULL");
    ak_close(ctx);
}

Test(table, from_gzip_with_a_number_per_line)
{
    ak_ctx *ctx = quiet();
    char    dir[64], text[4096] = "x\n";
    new_folder(dir);
    size_t n = 2;
    for (int i = 0; i < 500; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%d\n", i);
    put_gzip(path_in(dir, "t.csv.gz"), text, (unsigned)n);
    const ak_table *t = ak_table_read(ctx, path_in(dir, "t.csv.gz"), (ak_table_options){ 0 });
    cr_assert_not_null(t, "%s", ak_error_message(ctx));
    cr_expect_eq(t->rows, 500);
    cr_expect_eq(t->values[499], 499);
    remove_folder(dir);
    ak_close(ctx);
}

static void expect_labels(ak_ctx *ctx, const char *text, ak_table_options o, const int32_t *want,
                          int64_t classes)
{
    const ak_table *t = parse(ctx, text, o);
    cr_assert_not_null(t, "%s", ak_error_message(ctx));
    for (int64_t i = 0; i < t->rows; i++)
        cr_expect_eq(t->labels[i], want[i], "row %d is %d", (int)i, (int)t->labels[i]);
    cr_expect_eq(t->classes, classes);
}

Test(table, labels_that_are_numbers_stay)
{
    ak_ctx                *ctx = quiet();
    const ak_table_options o = { .label = "y" };
    expect_labels(ctx, "x,y\n1,3\n2,-1\n3,0\n", o, (int32_t[]){ 3, -1, 0 }, 4);
    expect_labels(ctx, "x,y\n1,70000\n2,5\n", o, (int32_t[]){ 70000, 5 }, 70001);
    expect_labels(ctx, "x,y\n1,2147483647\n", o, (int32_t[]){ INT32_MAX }, (int64_t)1 << 31);
    expect_labels(ctx, "x,y\n1,3.0\n2,-1.0\n3,007\n", o, (int32_t[]){ 3, -1, 7 }, 8);
    expect_labels(ctx, "x,y\n1,-1\n", o, (int32_t[]){ -1 }, 0);
    /* among names, -1 is unknown and other numbers are names */
    expect_labels(ctx, "x,y\n1,cat\n2,-1\n3,7\n4,cat\n", o, (int32_t[]){ 0, -1, 1, 0 }, 2);
    ak_close(ctx);
}

/* Very many different numbers are fine, very many different names are not. */
Test(table, many_labels)
{
    ak_ctx *ctx = quiet();
    enum { N = 30000 };
    char   *text = malloc(N * 16 + 16);
    size_t  n = (size_t)sprintf(text, "x,y\n");
    for (int i = 0; i < N; i++)
        n += (size_t)sprintf(text + n, "1,%d\n", 1000000 - i);
    const ak_table *t = parse(ctx, text, (ak_table_options){ .label = "y" });
    cr_assert_not_null(t, "%s", ak_error_message(ctx));
    for (int i = 0; i < N; i++)
        cr_assert_eq(t->labels[i], 1000000 - i);
    sprintf(text + n, "1,name\n");
    cr_expect_null(parse(ctx, text, (ak_table_options){ .label = "y" }));
    expect_error(ctx, AK_ERR_FORMAT, "line 10002", "right column");
    free(text);
    ak_close(ctx);
}

Test(table, two_files_with_the_same_classes)
{
    ak_ctx         *ctx = quiet();
    const ak_table *train = parse(ctx, "x,y\n1,dog\n2,cat\n", (ak_table_options){ .label = "y" });
    cr_assert_not_null(train);
    cr_expect_null(train->class_names[2]);
    const ak_table_options o = { .label = "y", .classes = train->class_names };
    expect_labels(ctx, "x,y\n1,cat\n2,dog\n3,-1\n", o, (int32_t[]){ 1, 0, -1 }, 2);
    expect_labels(ctx, "x,y\n1,cat\n", o, (int32_t[]){ 1 }, 2);    /* no dog: still two */
    cr_expect_null(parse(ctx, "x,y\n1,cat\n2,cow\n", o));
    expect_error(ctx, AK_ERR_FORMAT, "line 3, column 2", "\"cow\" is none of the 2 classes");
    cr_expect_null(parse(ctx, "x,y\n1,0\n", o));
    expect_error(ctx, AK_ERR_FORMAT, "line 2", "dog, cat");
    const char *const twice[] = { "a", "b", "a", NULL }, *const none[] = { NULL };
    cr_expect_null(parse(ctx, "x,y\n1,a\n", (ak_table_options){ .label = "y", .classes = twice }));
    expect_error(ctx, AK_ERR_VALUE, "t.csv", "\"a\" twice");
    cr_expect_null(parse(ctx, "x,y\n1,a\n", (ak_table_options){ .label = "y", .classes = none }));
    expect_error(ctx, AK_ERR_VALUE, "t.csv", "empty list");
    ak_close(ctx);
}

Test(table, empty_lines)
{
    ak_ctx *ctx = quiet();
    /* of several columns: no rows */
    const ak_table *t = parse(ctx, "a,b\n\n1,2\n\r\n\n3,4\n\n\n", (ak_table_options){ 0 });
    cr_assert(t && t->rows == 2);
    t = parse(ctx, "a,b\n\n1,2\n\n3,4\n", (ak_table_options){ .keep_missing = true });
    cr_assert(t && t->rows == 2);
    /* of one column: a missing value, except at the end */
    cr_expect_null(parse(ctx, "a\n1\n\n2\n", (ak_table_options){ 0 }));
    expect_error(ctx, AK_ERR_FORMAT, "line 3, column 1", "missing");
    t = parse(ctx, "a\n1\n\r\n2\n\n\n", (ak_table_options){ .keep_missing = true });
    cr_assert(t && t->rows == 3);
    cr_expect(t->values[0] == 1 && isnan(t->values[1]) && t->values[2] == 2);
    ak_close(ctx);
}

Test(table, blanks_around_quotes)
{
    ak_ctx         *ctx = quiet();
    const ak_table *t = parse(ctx, "a,y\n 1 , \"cat\" \n\"2\" ,cat\n", (ak_table_options){
        .label = "y" });
    cr_assert_not_null(t, "%s", ak_error_message(ctx));
    cr_expect(t->classes == 1 && t->labels[1] == 0 && t->values[1] == 2);
    ak_close(ctx);
}

/* A packed table has no header that says how long it is. */
Test(table, packed_bomb)
{
    ak_ctx *ctx = quiet();
    char    dir[64];
    new_folder(dir);
    const size_t n = 1u << 20;
    char        *text = malloc(n + 1);
    for (size_t i = 0; i < n; i++)
        text[i] = i % 2 ? '\n' : '1';
    put_gzip(path_in(dir, "x.gz"), text, (unsigned)n);
    const ak_table_options small = { .no_header = true, .max_bytes = 1000000 };
    cr_expect_null(ak_table_read(ctx, path_in(dir, "x.gz"), small));
    expect_error(ctx, AK_ERR_FORMAT, "more than the 1000000 bytes", ".max_bytes");
    const ak_table_options enough = { .no_header = true, .max_bytes = 1 << 20 };
    const ak_table *t = ak_table_read(ctx, path_in(dir, "x.gz"), enough);
    cr_assert_not_null(t, "%s", ak_error_message(ctx));
    cr_expect_eq(t->rows, (int64_t)n / 2);
    memset(text, 0, n);                                 /* no text: seen at once */
    put_gzip(path_in(dir, "x.gz"), text, (unsigned)n);
    cr_expect_null(ak_table_read(ctx, path_in(dir, "x.gz"), small));
    expect_error(ctx, AK_ERR_FORMAT, "line 1, column 1", "zero byte");
    free(text);
    remove_folder(dir);
    ak_close(ctx);
}

Test(table, numbers_beyond_float)
{
    ak_ctx         *ctx = quiet();
    const ak_table *t = parse(ctx, "a,b\n1,2\n3,1e300\n", (ak_table_options){ 0 });
    cr_assert_not_null(t, "%s", ak_error_message(ctx));
    cr_expect_eq(t->values[3], 1e300);
    ak_tensor *x = ak_table_tensor(ctx, t);
    if (sizeof(ak_real) == 4)
        expect_error(ctx, AK_ERR_VALUE, "row 2, column \"b\"", "1e+300");
    else
        cr_expect_eq(ak_at(x, AK_SHAPE(1, 1)), 1e300);
    ak_close(ctx);
}
