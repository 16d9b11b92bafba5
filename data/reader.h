/* SPDX-License-Identifier: Apache-2.0 */
/* Reading items of a data set: values, numbers as they are handed out, and what came in the way. */
#ifndef AK_DATA_READER_H
#define AK_DATA_READER_H

#include "data/dataset.h"

/* Bytes to numbers: [0, 255] -> [0, 1]. */
#define AK__BYTE_SCALE ((ak_real)(1.0 / 255))

/* A set as it was when somebody began to read it, with the settings that held for it then. */
typedef struct ak__reader {
    ak_ctx     *ctx;
    const char *name;
    int64_t     size;
    int         n_fields, n_parts;
    int         main, label;                /* -1: none */
    ak__field   field[AK_MAX_FIELDS];
    ak__part    part[AK_MAX_FIELDS];
    size_t      scratch_at[AK_MAX_FIELDS];  /* bytes, of fields that need it */
    size_t      scratch;                    /* bytes in all; 64-byte aligned */
} ak__reader;
void ak__reader_open(ak__reader *r, const ak_dataset *ds);
/* Label of an item, from values; -1 unknown, or none to be had. */
int32_t ak__reader_label(const ak__reader *r, int64_t i);

/* The stored values of one field of one item: one of the pointers. */
typedef struct ak__raw {
    const uint8_t *bytes;
    const ak_real *reals;
    const int32_t *whole;
    int64_t        length;
} ak__raw;

/* What came in the way of a batch. Threads note it, the caller reports it. */
typedef enum ak__fault_kind {
    AK__NO_FAULT, AK__FAULT_BOX, AK__FAULT_RANGE, AK__FAULT_LENGTH, AK__FAULT_TOKEN, AK__FAULT_ITEM
} ak__fault_kind;
typedef struct ak__fault {
    ak__fault_kind         what;
    const ak_augment_kind *kind;
    int64_t                item, row;       /* of the set, and of the callback */
    int                    view, field;
    int64_t                height, width;   /* of the picture at that time */
    ak_box                 box;             /* that a look left */
    double                 value;           /* that a change of values in [0, 1] was handed */
    char                   text[256];
} ak__fault;
/* Record it as an error. */
ak_status ak__fault_fail(const ak__reader *r, const char *who, const ak__fault *fault);

/* Values of all fields of item i. scratch: r->scratch bytes. False: a fault. */
bool ak__reader_item(const ak__reader *r, int64_t i, void *scratch, ak__raw *raw, ak__fault *fault);
/* A field of numbers without augmentation, scaled and normalised, into out: raw.length * width. */
void ak__field_plain(const ak__field *f, const ak__raw *raw, ak_real *restrict out);
/* The parts of that. */
void ak__field_scaled(const ak__field *f, const ak__raw *raw, ak_real *restrict out);
void ak__field_normal(const ak__field *f, ak_real *restrict x, int64_t n);

#endif
