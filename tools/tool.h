/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the tool `akin` share. */
#ifndef AKIN_TOOL_H
#define AKIN_TOOL_H

#include <akin/akin.h>

/* A command: its arguments without its name; the program's exit code. */
typedef int command_fn(ak_ctx *ctx, int argc, char **argv);
command_fn info_command, convert_command, data_command, report_command;
/* What `akin info` says without arguments. */
int library_info(ak_ctx *ctx);

/* ---- encoders.c: modules by name, for `akin info` -------------------------------------------- */

#define MODEL_OPTIONS 16

/* What was written after the name: --stem 7 --channels 3,32,64. */
typedef struct model_options {
    int n;
    struct { const char *name; int values[AK_CONVNET_MAX + 2]; } option[MODEL_OPTIONS];
    ak_shape input;             /* of one item */
} model_options;

typedef struct model {
    const char *name, *input, *options;     /* the usual input, "32x32x3"; "width stem sizes..": two
                                             * dots behind what takes several numbers */
    bool        tokens;                     /* its input are ids [N, T], else x [N, ..] */
    ak_module *(*make)(ak_ctx *ctx, const char *name, const model_options *o);
} model;
/* By position; NULL past the end. */
const model *model_at(int i);

#endif
