/* SPDX-License-Identifier: Apache-2.0 */
/* Arrays as readers make them, and the parsers on memory that tests and fuzz targets call. */
#ifndef AK_IO_ARRAY_H
#define AK_IO_ARRAY_H

#include <akin/io.h>

#include "io/file.h"

/* An array in context lifetime of zeros; NULL on failure, recorded. */
ak_array *ak__array_new(ak_ctx *ctx, const char *name, ak_type type, ak_shape shape);
/* n tensors as arrays under their names, in memory that ak__free gives back; no values are copied.
 * who: the public function. NULL and *status on failure. */
ak_array *ak__arrays_of(ak_ctx *ctx, const char *who, const char *const *names,
                        ak_tensor *const *tensors, int n, ak_status *status);
/* dims multiplied with overflow check, times the element size; false if it exceeds `limit`. */
bool ak__array_bytes(ak_shape shape, ak_type type, size_t limit, size_t *bytes);
/* Of n numbers, the first that is finite and would become infinite as ak_real; -1 if none is. */
int64_t ak__beyond_real(const double *values, int64_t n);
/* A half-precision number: 1 bit of sign, 5 of exponent (bias 15), 10 of fraction. Every one of
 * them is a float; the payload of a NaN stays. */
float ak__from_half(uint16_t h);

/* Floating-point numbers as they lie in a file: little-endian, at any address. */
typedef enum ak__float_kind {
    AK__NO_FLOATS, AK__FLOAT16, AK__BFLOAT16, AK__FLOAT32, AK__FLOAT64
} ak__float_kind;
typedef struct ak__floats {
    ak__float_kind kind;
    const uint8_t *at;
    int64_t        n;
} ak__floats;
size_t ak__floats_size(ak__float_kind kind);    /* bytes of one; 0 for no floats */
double ak__float_at(const ak__floats *f, int64_t i);
/* n numbers from `first` on, as ak_real. */
void ak__floats_read(const ak__floats *f, int64_t first, int64_t n, ak_real *to);
/* How many are not finite, and the first finite one beyond ak_real (-1: none). */
void ak__floats_look(const ak__floats *f, int64_t *not_finite, int64_t *beyond);

/* Reverse the bytes of each of count elements of `size` bytes, from -> to (may be the same). */
void ak__swap_bytes(void *to, const void *from, int64_t count, size_t size);
/* Is this machine little-endian? */
bool ak__little_endian(void);

/* One IDX file in memory: where its elements are and what they are (big-endian). */
typedef struct ak__idx {
    ak_type        type;
    ak_shape       shape;
    const uint8_t *data;
    size_t         bytes;
} ak__idx;
ak_status ak__idx_parse(ak_ctx *ctx, const char *name, const uint8_t *bytes, size_t n,
                        ak__idx *out);
/* What their headers announce, for unpacking. */
ak__announced ak__idx_announced, ak__npy_announced;
#define AK__IDX_EXPECTED ((ak__expected){ .limit = SIZE_MAX / 4, .announced = ak__idx_announced })
#define AK__NPY_EXPECTED ((ak__expected){ .limit = SIZE_MAX / 4, .announced = ak__npy_announced })

/* A .npy file in memory. */
const ak_array *ak__npy_parse(ak_ctx *ctx, const char *name, const uint8_t *bytes, size_t n);
/* Header of a .npy file for an array in C order into buf; returns its size, a multiple of 64. */
#define AK__NPY_HEADER 256
size_t ak__npy_header(char buf[AK__NPY_HEADER], ak_type type, ak_shape shape);

/* An archive in memory; bytes must stay until the archive's context or ak_npz_close. */
ak_npz *ak__npz_parse(ak_ctx *ctx, const char *name, const uint8_t *bytes, size_t n);

/* As ak_npz_write_arrays; what is as large as `zip64` (entries, the archive, their number) gets
 * 64-bit records, which everything beyond 4 GB needs. */
ak_status ak__npz_write(ak_ctx *ctx, const char *path, const ak_array *arrays, int n,
                        bool deflated, uint64_t zip64);

#define AK__SAFETENSORS_HEADER 100000000    /* most bytes, as in the reference implementation */
/* A safetensors file in memory; bytes must stay until ak_safetensors_close. */
ak_safetensors *ak__safetensors_parse(ak_ctx *ctx, const char *name, const uint8_t *bytes,
                                      size_t n);
/* The numbers of tensor i where they lie; no floats: it has none. False: an error is recorded (the
 * file is closed or was cut off). */
bool ak__safetensors_floats(ak_safetensors *f, int64_t i, ak__floats *floats);

/* A table in memory. */
const ak_table *ak__table_parse(ak_ctx *ctx, const char *name, const uint8_t *bytes, size_t n,
                                ak_table_options options);

#endif
