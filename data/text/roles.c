/* SPDX-License-Identifier: Apache-2.0 */
/* What a tokeniser says of its tokens. */
#include "data/text/text.h"

#include "base/base.h"

int32_t ak_tokenizer_role(const ak_tokenizer *t, ak_token_role role)
{
    if (!AK__GIVEN(NULL, t))
        return -1;
    if (role < AK_TOKEN_PAD || role > AK_TOKEN_MASK) {
        ak_fail(t->ctx, AK_ERR_VALUE, "ak_tokenizer_role: there is no role %d", (int)role);
        return -1;
    }
    return t->role[role];
}
