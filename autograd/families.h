/* SPDX-License-Identifier: Apache-2.0 */
/* The families of ops: each array ends with NULL and stands at the foot of its file in ops/. */
#ifndef AK_FAMILIES_H
#define AK_FAMILIES_H

#include <akin/op.h>

extern const ak_op *const ak__ops_unary[];
extern const ak_op *const ak__ops_binary[];
extern const ak_op *const ak__ops_reduce[];
extern const ak_op *const ak__ops_order[];
extern const ak_op *const ak__ops_segment[];
extern const ak_op *const ak__ops_linear[];
extern const ak_op *const ak__ops_layout[];
extern const ak_op *const ak__ops_index[];
extern const ak_op *const ak__ops_select[];
extern const ak_op *const ak__ops_random[];
extern const ak_op *const ak__ops_norm[];
extern const ak_op *const ak__ops_softmax[];
extern const ak_op *const ak__ops_conv[];
extern const ak_op *const ak__ops_pool[];
extern const ak_op *const ak__ops_attention[];
extern const ak_op *const ak__ops_positions[];
extern const ak_op *const ak__ops_joined[];
extern const ak_op *const ak__ops_gru[];
extern const ak_op *const ak__ops_bag[];
extern const ak_op *const ak__ops_mel[];

#endif
