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
    cr_expect_str_eq(t->class_names[3], "3");
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
        { "a,b\n1,\"2\n3\n", "line 2", "not closed", { 0 }, AK_ERR_FORMAT },
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
    expect_error(ctx, AK_ERR_FORMAT, "line 2", "zero byte");
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
