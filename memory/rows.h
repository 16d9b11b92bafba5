/* SPDX-License-Identifier: Apache-2.0 */
/* Rows and numbers of samples that come in: what queues and banks ask about them. */
#ifndef AK_MEMORY_ROWS_H
#define AK_MEMORY_ROWS_H

#include <akin/memory.h>
#include <akin/op.h>

#include "tensor/tensor_internal.h"

/* Who speaks in a message, and about which object. */
typedef struct ak__speaker {
    ak_ctx     *ctx;
    const char *who, *name;     /* "ak_queue_push", "moco" */
} ak__speaker;

/* Is this a form that exists? If not: AK_ERR_VALUE. */
bool ak__row_form_known(ak__speaker me, ak_row_form form);
/* May these n rows come in: finite, with a direction or of length 1 as the form says? Rows of id -1
 * (ids NULL: none) are padding, and not looked at. If not: AK_ERR_NUMBER, and which row. */
bool ak__rows_accepted(ak__speaker me, ak_row_form form, const ak_real *x, int64_t n, int64_t d,
                       const int32_t *ids);
/* y = x, divided by its length if the form says so. */
void ak__row_put(ak_real *y, const ak_real *x, int64_t d, ak_row_form form);
/* y = x / |x|; y may be x. */
void ak__row_unit(ak_real *y, const ak_real *x, int64_t d);
/* Random directions, a function of the context's seed and the name. */
void ak__rows_draw(ak__speaker me, ak_real *x, int64_t n, int64_t d);

/* Are all of these numbers in [-1, most)? If not: AK_ERR_VALUE "<what>: item 3 has 70; ..". */
bool ak__numbers_fit(ak__speaker me, const char *what, const ak_index *x, int64_t most);
/* A weight of the old in [0, 1): value, or for 0 the default; AK_NONE is 0. NaN after an error. */
double ak__momentum(ak__speaker me, double value, double otherwise);

#endif
