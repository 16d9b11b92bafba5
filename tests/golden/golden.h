/* SPDX-License-Identifier: Apache-2.0 */
/* Reader of reference values (.npz) for golden tests, independent of the library's own readers.
 *
 * Files are looked up in $AK_GOLDEN_DIR, else in the source folder tests/golden. Sizes always come
 * from the arrays. A missing key, a broken file or an unknown element type ends the test with a
 * message, so that test code needs no checks of its own:
 *
 *     golden_file *f = golden_open("layer-linear");           // NULL: no such file
 *     for (int c = 0; c < golden_cases(f); c++) {
 *         ak_tensor *x = golden_tensor(ctx, f, golden_key("c%d_x", c));
 *         ak_tensor *y = ...;
 *         char msg[GOLDEN_MESSAGE];
 *         cr_expect(golden_close(y->data, f, golden_key("c%d_y", c), GOLDEN_TOL, msg), "%s", msg);
 *         ak_step_end(ctx);
 *     }
 *     golden_free(f);
 */
#ifndef AK_TESTS_GOLDEN_H
#define AK_TESTS_GOLDEN_H

#include <akin/tensor.h>

typedef struct golden_file golden_file;

/* Tolerance of the running build: 1e-10 in double, 1e-5 in float. */
#define GOLDEN_TOL (sizeof(ak_real) == 8 ? 1e-10 : 1e-5)
#define GOLDEN_MESSAGE 1600

/* name without folder, with or without ".npz". NULL (with a line on stderr) if there is none. */
golden_file *golden_open(const char *name);
void golden_free(golden_file *f);

/* printf into one of 16 rotating buffers: for keys. */
const char *golden_key(const char *format, ...) AK_PRINTF(1, 2);
/* The i-th key (without ".npy"), NULL past the end. */
const char *golden_name(const golden_file *f, int i);
bool golden_has(golden_file *f, const char *key);
/* The scalar `cases`. */
int golden_cases(golden_file *f);

ak_shape golden_shape(golden_file *f, const char *key);
int64_t  golden_size(golden_file *f, const char *key);
/* Row-major values of any numeric or boolean array, owned by f. */
const double *golden_values(golden_file *f, const char *key);

/* Step tensors and index arrays, row-major. */
ak_tensor *golden_tensor(ak_ctx *ctx, golden_file *f, const char *key);
ak_index  *golden_index(ak_ctx *ctx, golden_file *f, const char *key);
/* The first element. */
double      golden_number(golden_file *f, const char *key);
/* The number, or `absent` if there is no such key. */
double      golden_number_or(golden_file *f, const char *key, double absent);
/* Text of a U array's first element (UTF-8), owned by f; "" if there is no such key. */
const char *golden_text(golden_file *f, const char *key);

/* max |got - want| <= tol * max(1, max |want|)? got has as many elements as the array. NaN and
 * infinities must agree. msg (GOLDEN_MESSAGE bytes, may be NULL) says what differs most. */
bool golden_close(const ak_real *got, golden_file *f, const char *key, double tol, char *msg);
/* The same for one number. */
bool golden_close_number(double got, golden_file *f, const char *key, double tol, char *msg);

#endif
