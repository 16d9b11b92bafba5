/* SPDX-License-Identifier: Apache-2.0 */
/* The training steps that are measured, alone (bench_step) and beside a peer (bench_serve). */
#ifndef AK_BENCH_RECIPES_H
#define AK_BENCH_RECIPES_H

#include <akin/akin.h>

/* A recipe that was built: its modules and what goes into them. */
typedef struct recipe_state {
    ak_ctx    *ctx;
    ak_module *encoder, *head;      /* encoder NULL: only a head */
    ak_tensor *(*pool)(ak_tensor *y);   /* of what the encoder returns; NULL: it is [N, C] */
    ak_tensor *input;               /* both views, first view first */
    ak_tensor *target;              /* of a regression; what each text belongs to */
    ak_index  *ids, *types, *lengths;   /* of texts */
} recipe_state;

typedef struct recipe {
    const char *name;
    int         views;      /* pictures or rows a step */
    int         steps;      /* worth timing */
    void      (*build)(recipe_state *s);        /* in s->ctx */
    ak_tensor *(*loss)(const recipe_state *s);
} recipe;

extern const recipe recipes[];
extern const int recipe_count;

/* By name; NULL if there is none. */
const recipe *recipe_find(const char *name);
/* NT-Xent of the two views, passed through the network at once or one after the other (batch norm
 * then takes its statistics from each view alone). */
ak_tensor *recipe_contrast_joint(const recipe_state *s);
ak_tensor *recipe_contrast_two_passes(const recipe_state *s);

#endif
