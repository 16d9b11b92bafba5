/* SPDX-License-Identifier: Apache-2.0 */
/* akin/io.h - arrays and tables from files and to files: .npy, .npz, safetensors, IDX, CSV, TSV.
 *
 * Every byte that comes from outside is parsed here, with each size checked before it is used; a
 * damaged file gives a message that names the file, what was expected, what was found and what to
 * do, never a crash. Files are written beside their place and renamed when complete, so that
 * nothing half-written is ever left behind. A reader makes arrays: bytes of the file's own element
 * type in row-major order. Tensors are made from them where they are used.
 *
 *     ak_npz *f = ak_npz_open(ctx, "features.npz");
 *     const ak_array *a = ak_npz_find(f, "train");        // NULL: no such array
 *     ak_tensor *x = ak_array_tensor(ctx, a);             // [N, D], this step
 *     ak_index  *y = ak_array_index(ctx, ak_npz_find(f, "labels"));
 *     ...
 *     ak_npz_write(ctx, "embeddings.npz", (const char *const[]){ "z1", "z2" },
 *                  (ak_tensor *const[]){ z1, z2 }, 2);
 *
 * A symbolic link is followed: what it leads to is written. Something else than a regular file (a
 * device, a FIFO) is refused, and so is a file that is protected against writing. What a writer
 * that was killed has left behind (path.tmp-..) is removed when the file is written again.
 *
 * What it does not do: Python objects and text arrays, encrypted archives, arrays of more than
 * AK_MAX_DIMS axes. Each of them is refused by name.
 *
 * Functions that return a pointer return NULL after recording an error. While that is pending, NULL
 * may go where the failed call's result would, without a second message; afterwards it is
 * AK_ERR_VALUE.
 */
#ifndef AKIN_IO_H
#define AKIN_IO_H

#include <akin/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Element types of arrays: name, bytes of one element, NumPy's code. */
#define AK_TYPE_MAP(X)                                                                             \
    X(F32, 4, "f4")                                                                                \
    X(F64, 8, "f8")                                                                                \
    X(I8, 1, "i1")                                                                                 \
    X(I16, 2, "i2")                                                                                \
    X(I32, 4, "i4")                                                                                \
    X(I64, 8, "i8")                                                                                \
    X(U8, 1, "u1")                                                                                 \
    X(U16, 2, "u2")                                                                                \
    X(U32, 4, "u4")                                                                                \
    X(U64, 8, "u8")                                                                                \
    X(BOOL, 1, "b1")

typedef enum ak_type {
#define AK_TYPE_ENUM(name, bytes, code) AK_TYPE_##name,
    AK_TYPE_MAP(AK_TYPE_ENUM)
#undef AK_TYPE_ENUM
    AK_TYPE_COUNT
} ak_type;

/* Numbers of some type, row-major. Read-only for users. */
typedef struct ak_array {
    const char *name;       /* key in its archive, or the file's path */
    ak_type     type;
    ak_shape    shape;
    int64_t     size;       /* product of the dims, 1 for a scalar */
    const void *data;       /* size elements, aligned for their type */
} ak_array;

/* Bytes of one element; 0 for an unknown type. */
AK_API size_t ak_type_size(ak_type type);
/* NumPy's code ("f4"); "?" for an unknown type. */
AK_API const char *ak_type_name(ak_type type);

/* Element i as a number (booleans as 0 and 1; whole numbers beyond 2^53 are rounded).
 *
 *   a        may be NULL
 *   returns  the number; NaN if a is NULL or i is outside [0, size)
 */
AK_API double ak_array_at(const ak_array *a, int64_t i);

/* The values as a tensor.
 *
 *   formula  y[i] = (ak_real)a[i]
 *   shapes   a [shape] -> [shape]
 *   returns  step lifetime, a copy; the poison tensor on failure or if a is NULL
 *   grad     none
 *   errors   AK_ERR_VALUE if a is NULL and nothing else has failed, or for a finite number beyond
 *            the range of ak_real, AK_ERR_MEMORY
 */
AK_API ak_tensor *ak_array_tensor(ak_ctx *ctx, const ak_array *a);
/* The values as whole numbers (labels, rows).
 *
 *   shapes   a [shape] -> [shape], any type; fractions are refused
 *   returns  step lifetime, a copy; what ak_index_from returns on failure
 *   errors   AK_ERR_VALUE if a value is not a whole number of 32 bits, AK_ERR_MEMORY
 */
AK_API ak_index *ak_array_index(ak_ctx *ctx, const ak_array *a);

/* ---- .npy and .npz -------------------------------------------------------------------------- */

/* Read a .npy file (versions 1, 2 and 3; either byte order; C or Fortran order), plain or gzip.
 * Half-precision arrays (f2) become F32 with the same values.
 *
 *   returns  [shape as written], context lifetime, in C order and the machine's byte order; NULL
 *            on failure
 *   errors   AK_ERR_NOT_FOUND, AK_ERR_IO, AK_ERR_FORMAT, AK_ERR_UNSUPPORTED (element type),
 *            AK_ERR_MEMORY
 *   source   NumPy Enhancement Proposal 1 and numpy/lib/format.py
 */
AK_API const ak_array *ak_npy_read(ak_ctx *ctx, const char *path);

/* Write a tensor as .npy (f4; f8 in the double build).
 *
 *   returns  AK_OK; the file is complete or, on failure, the old one is untouched
 *   errors   AK_ERR_STALE, AK_ERR_CONTEXT, AK_ERR_IO, AK_ERR_MEMORY, AK_ERR_STATE while an error is
 *            pending
 */
AK_API ak_status ak_npy_write(ak_ctx *ctx, const char *path, const ak_tensor *t);

/* An open archive of arrays. */
typedef struct ak_npz ak_npz;

/* Open an archive. Arrays are unpacked when they are asked for, once, and their checksums tested.
 *
 *   returns  the archive, context lifetime; NULL on failure
 *   errors   AK_ERR_NOT_FOUND, AK_ERR_IO, AK_ERR_FORMAT, AK_ERR_UNSUPPORTED (encryption, a
 *            method other than stored or deflated), AK_ERR_MEMORY
 *   source   PKWARE APPNOTE.TXT 6.3.3, sections 4.3 and 4.4
 */
AK_API ak_npz *ak_npz_open(ak_ctx *ctx, const char *path);
/* Number of arrays; 0 for NULL. */
AK_API int64_t ak_npz_count(const ak_npz *f);
/* Name of array i without ".npy"; NULL past the end. */
AK_API const char *ak_npz_name(const ak_npz *f, int64_t i);
/* Array i in the order of the archive.
 *
 *   returns  context lifetime; NULL past the end (no error) or on failure
 *   errors   as ak_npy_read
 */
AK_API const ak_array *ak_npz_at(ak_npz *f, int64_t i);
/* Array by name; of several with one name the last, as NumPy takes it.
 * returns NULL if there is none (no error) or on failure; otherwise as ak_npz_at */
AK_API const ak_array *ak_npz_find(ak_npz *f, const char *name);
/* Free the archive's compressed bytes before the context closes. Arrays handed out stay valid;
 * others can no longer be read. Closing NULL is fine. */
AK_API void ak_npz_close(ak_npz *f);

/* Write n tensors as an archive, stored (as numpy.savez) or deflated (numpy.savez_compressed).
 *
 *   names    n names, not empty, each once; ".npy" is added
 *   returns  AK_OK; the file is complete or, on failure, the old one is untouched
 *   errors   AK_ERR_VALUE for a bad name, AK_ERR_IO, AK_ERR_MEMORY, AK_ERR_STATE while an
 *            error is pending
 */
AK_API ak_status ak_npz_write(ak_ctx *ctx, const char *path, const char *const *names,
                              ak_tensor *const *tensors, int n);
AK_API ak_status ak_npz_write_deflated(ak_ctx *ctx, const char *path, const char *const *names,
                                       ak_tensor *const *tensors, int n);
/* The same for arrays of any type; each carries its name. */
AK_API ak_status ak_npz_write_arrays(ak_ctx *ctx, const char *path, const ak_array *arrays, int n,
                                     bool deflated);

/* ---- safetensors ---------------------------------------------------------------------------- */

/* An open file of tensors: a header that says what there is, and their bytes. The file is mapped,
 * not read: only what is asked for is looked at. Weights of a module: akin/weights.h. */
typedef struct ak_safetensors ak_safetensors;

/* What the header says of a tensor. Read-only for users. */
typedef struct ak_safetensors_entry {
    const char *name;
    const char *type;       /* as written: "F32", "BF16", "I64", .. */
    ak_shape    shape;      /* n as written; axes beyond AK_MAX_DIMS are not kept */
    int64_t     bytes;
    bool        readable;   /* as an array: F64 F32 F16 BF16, I and U of 8 to 64 bits, BOOL, and no
                             * more than AK_MAX_DIMS axes */
} ak_safetensors_entry;

/* Open a file. The whole header is checked: sizes against the file, duplicate names, ranges that
 * overlap, leave a gap, leave the file or do not fit shape and type, bytes behind the last.
 *
 *   returns  context lifetime; NULL on failure
 *   errors   AK_ERR_NOT_FOUND, AK_ERR_IO (no regular file), AK_ERR_FORMAT, AK_ERR_MEMORY
 *   source   https://github.com/huggingface/safetensors, "Format"
 */
AK_API ak_safetensors *ak_safetensors_open(ak_ctx *ctx, const char *path);
/* Number of tensors; 0 for NULL. */
AK_API int64_t ak_safetensors_count(const ak_safetensors *f);
/* Name of tensor i, and what else the header says, in the order of their bytes; NULL past the
 * end. */
AK_API const char *ak_safetensors_name(const ak_safetensors *f, int64_t i);
AK_API const ak_safetensors_entry *ak_safetensors_info(const ak_safetensors *f, int64_t i);
/* Key i of the metadata and, unless value is NULL, what stands there; NULL past the end. */
AK_API const char *ak_safetensors_metadata(const ak_safetensors *f, int64_t i,
                                           const char **value);
/* The place of a name, -1 if there is none. */
AK_API int64_t ak_safetensors_index(const ak_safetensors *f, const char *name);
/* Tensor i as an array; F16 and BF16 become F32 with the same values.
 *
 *   returns  a copy, context lifetime, made once; NULL past the end (no error) or on failure
 *   errors   AK_ERR_UNSUPPORTED for another type or too many axes, AK_ERR_STATE after closing,
 *            AK_ERR_IO if the file was cut off meanwhile, AK_ERR_MEMORY
 */
AK_API const ak_array *ak_safetensors_at(ak_safetensors *f, int64_t i);
/* The same by name. returns NULL if there is none (no error) or on failure */
AK_API const ak_array *ak_safetensors_find(ak_safetensors *f, const char *name);
/* Copy tensor i, of floating-point numbers, into one of its shape, without an array in between.
 *
 *   errors   as ak_safetensors_at; AK_ERR_VALUE for an i that there is not, and for a finite number
 *            beyond ak_real; AK_ERR_SHAPE; AK_ERR_UNSUPPORTED also for whole numbers. to has not
 *            changed then
 */
AK_API ak_status ak_safetensors_read(ak_safetensors *f, int64_t i, ak_tensor *to);
/* Give the mapping back before the context closes. Arrays handed out stay valid. Closing NULL is
 * fine. */
AK_API void ak_safetensors_close(ak_safetensors *f);

/* Write n tensors as F32 (F64 in the double build, so that nothing is lost).
 *
 *   names     n names, not empty, each once, UTF-8; "__metadata__" is none
 *   metadata  key, value, key, value, .., NULL; NULL = none
 *   returns   AK_OK; the file is complete or, on failure, the old one is untouched
 *   order     of the bytes: wide elements first, so that all are aligned; else as given
 *   errors    AK_ERR_VALUE for a bad name or key, a missing value or more than 1000 pairs, and for
 *             a header of more than 100 MB; AK_ERR_IO, AK_ERR_MEMORY, AK_ERR_STATE while an
 *             error is pending
 */
AK_API ak_status ak_safetensors_write(ak_ctx *ctx, const char *path, const char *const *names,
                                      ak_tensor *const *tensors, int n,
                                      const char *const *metadata);
/* The same for arrays of any type; each carries its name. */
AK_API ak_status ak_safetensors_write_arrays(ak_ctx *ctx, const char *path, const ak_array *arrays,
                                             int n, const char *const *metadata);

/* ---- IDX ------------------------------------------------------------------------------------ */

/* Read an IDX file (the format of MNIST), plain or gzip.
 *
 *   returns  [dims of the file], types u1 i1 i2 i4 f4 f8, context lifetime; NULL on failure
 *   errors   AK_ERR_NOT_FOUND, AK_ERR_IO, AK_ERR_FORMAT, AK_ERR_MEMORY
 *   source   LeCun, Cortes, Burges, "The MNIST database", file format section
 */
AK_API const ak_array *ak_idx_read(ak_ctx *ctx, const char *path);

/* ---- tables --------------------------------------------------------------------------------- */

/* Most bytes that a packed table may have unpacked, if .max_bytes says nothing else. */
#define AK_TABLE_BYTES ((size_t)1 << 30)

/* Labels become class numbers so:
 *
 *   with .classes   the place in that list; a label that is not in it is an error
 *   numbers         stay what they are if all are numbers: "3" and "3.0" are 3, "007" is 7; a
 *                   fraction or a number below -1 among them is an error
 *   names           otherwise: 0, 1, .. in the order in which the file has them first
 *   -1              unknown, in each of these cases, as everywhere; also a missing label with
 *                   .keep_missing
 *
 * Two files whose names come in another order get other numbers. So that they agree, hand the
 * names of the first to the second:
 *
 *     ak_table_options o = { .label = "kind" };
 *     ak_dataset *train = ak_dataset_table(ctx, "train.csv", o);
 *     o.classes = ak_dataset_class_names(train);
 *     ak_dataset *test = ak_dataset_table(ctx, "test.csv", o);
 *
 * Evaluation (akin/eval.h) refuses two sets whose class names differ.
 */
typedef struct ak_table_options {
    const char *label;      /* column with class labels, by name or by number from 1 ("5");
                             * NULL = none */
    const char *skip;       /* columns to leave out, a pattern as for ak_match, each of
                             * whose alternatives must fit one; NULL = none */
    char        delimiter;  /* between cells; 0 = a tab if the first line has one, else a comma */
    bool        no_header;  /* the first line is data; columns are then named "1", "2", .. */
    bool        keep_missing;   /* a missing number becomes NaN instead of an error, a missing
                                 * label -1 */
    const char *const *classes; /* names of the classes in order, ended by NULL; NULL = as found */
    int64_t     max_bytes;  /* that a gzip file may unpack to; 0 = AK_TABLE_BYTES (1 GiB) */
} ak_table_options;

/* A table in context lifetime. Read-only for users. */
typedef struct ak_table {
    ak_ctx            *ctx;
    int64_t            rows;
    int64_t            columns;     /* numeric ones, without the label and skipped ones */
    const char *const *names;       /* [columns] */
    const double      *values;      /* [rows, columns] */
    const int32_t     *labels;      /* [rows] numbers of classes, -1 = unknown; NULL without label
                                     * column */
    int64_t            classes;     /* names, or one more than the largest number */
    const char *const *class_names; /* [classes], then NULL; NULL where the labels are numbers */
} ak_table;

/* Read a CSV or TSV file, plain or gzip: cells may be quoted ("a ""quoted"" cell"), lines end with
 * LF or CRLF, a byte-order mark is ignored. An empty line is skipped; in a table of one column it
 * is a missing value, except at the end.
 *
 * Numbers are decimal with a point, whatever the program's locale says: 1, -.5, 2e-3. One below
 * the range of double is rounded to 0; one beyond it (1e999), inf and hexadecimal ones are errors.
 * Missing are: an empty cell, NA, N/A, NaN, nan, null, NULL, ?.
 *
 *   returns  the table, context lifetime; NULL on failure
 *   errors   AK_ERR_FORMAT with line and column: a missing value, a cell that is no number, a zero
 *            byte, text behind a closing quote, a label that is no class, a line with more or fewer
 *            cells than the first; AK_ERR_FORMAT beyond .max_bytes; AK_ERR_VALUE for an unknown
 *            label column or one whose name two columns have, and for options; AK_ERR_NOT_FOUND
 *            (no file; a .skip that fits no column), AK_ERR_IO, AK_ERR_MEMORY
 *   source   RFC 4180
 */
AK_API const ak_table *ak_table_read(ak_ctx *ctx, const char *path, ak_table_options options);

/* The numbers of a table.
 *
 *   shapes   returns [rows, columns]
 *   returns  step lifetime, a copy; the poison tensor on failure
 *   grad     none
 *   errors   AK_ERR_VALUE for a number beyond the range of ak_real, AK_ERR_MEMORY
 */
AK_API ak_tensor *ak_table_tensor(ak_ctx *ctx, const ak_table *table);

#ifdef __cplusplus
}
#endif
#endif
