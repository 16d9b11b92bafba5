/* SPDX-License-Identifier: Apache-2.0 */
/* What the layers of nn/ share: building modules, and errors that name the module's path. */
#ifndef AK_MODULE_H
#define AK_MODULE_H

#include <akin/autograd.h>
#include <akin/nn.h>

#include "base/base.h"

#define AK__NAME_MAX 512        /* longest path, with its final zero */

/* A module whose user memory is `bytes` zeroed bytes of the context. NULL after an error. */
ak_module *ak__module_make(ak_ctx *ctx, const char *name, ak_forward_fn forward, size_t bytes);
/* "path/name" into buf[AK__NAME_MAX]; returns buf. */
const char *ak__module_path(char *buf, const ak_module *m, const char *name);
/* "parent/<name><number>" for constructors that name their parts; number < 0: none. */
const char *ak__part_name(char *buf, const char *parent, const char *name, int number);

/* Fail with "<path> (<what>): expected x <expected>, got <shape>"; returns the poison tensor. */
ak_tensor *ak__module_shape_error(ak_module *m, const ak_tensor *x, const char *format, ...)
    AK_PRINTF(3, 4);
/* For constructors: true if x is usable; else the error "<name>: <what> must be ..., got x". */
bool ak__module_positive(ak_ctx *ctx, const char *name, const char *what, int64_t x);

/* Is this an initialiser? If not, an error names what it was for. Asked before a parameter is made,
 * whose name would stay in use. */
bool ak__init_known(ak_ctx *ctx, const char *name, ak_init how);
/* A weight of the default kind or as asked, and a bias uniform within 1/sqrt(fan_in). */
ak_tensor *ak__module_weight(ak_module *m, ak_shape shape, ak_init init);
ak_tensor *ak__module_bias(ak_module *m, int64_t size, const ak_tensor *weight);
/* A parameter filled with `value` that is not decayed. */
ak_tensor *ak__module_scale(ak_module *m, const char *name, int64_t size, double value);

/* The function of a module tells what layer it is. NULL for no module. */
ak_forward_fn ak__module_function(const ak_module *m);

/* Forward of a module whose result a batch norm takes next. If it is a convolution in train mode,
 * *moments are of the result (autograd/moments.h), else NULL. */
ak_tensor *ak__forward_to_norm(ak_module *m, ak_tensor *x, ak_tensor **moments);
/* Forward of a batch norm module: moments of x, which nothing has changed since, or NULL; `skip`
 * (shape of x) or NULL is added before its ReLU. */
ak_tensor *ak__batch_norm_forward(ak_module *m, ak_tensor *x, ak_tensor *moments, ak_tensor *skip);
bool ak__is_batch_norm(const ak_module *m);
/* Forward of child i of m in a chain, which hands moments of one child to the next in *moments,
 * NULL at the beginning. */
ak_tensor *ak__forward_child(ak_module *m, int64_t i, ak_tensor *x, ak_tensor **moments);

#endif
