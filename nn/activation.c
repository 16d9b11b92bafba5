/* SPDX-License-Identifier: Apache-2.0 */
/* Activations by their kind, as a function and as a module. */
#include "nn/module.h"
#include "tensor/tensor_internal.h"

static const char *const activation_names[] = {
    [AK_RELU] = "ReLU",         [AK_LEAKY_RELU] = "leaky ReLU", [AK_ELU] = "ELU",
    [AK_GELU] = "GELU",         [AK_GELU_TANH] = "GELU (tanh)", [AK_SILU] = "SiLU",
    [AK_SIGMOID] = "sigmoid",   [AK_TANH] = "tanh",             [AK_SOFTPLUS] = "softplus",
    [AK_HARDSWISH] = "hardswish", [AK_QUICK_GELU] = "quick GELU", [AK_IDENTITY] = "identity",
};

const char *ak__activation_name(ak_activation kind) { return activation_names[kind]; }

ak_tensor *ak_activate(ak_tensor *x, ak_activation kind)
{
    if (!AK__TENSOR(NULL, x))
        return &ak__poison;
    switch (kind) {
    case AK_RELU:       return ak_relu(x);
    case AK_LEAKY_RELU: return ak_leaky_relu(x, 0.01);
    case AK_ELU:        return ak_elu(x, 1);
    case AK_GELU:       return ak_gelu(x);
    case AK_GELU_TANH:  return ak_gelu_tanh(x);
    case AK_SILU:       return ak_silu(x);
    case AK_SIGMOID:    return ak_sigmoid(x);
    case AK_TANH:       return ak_tanh(x);
    case AK_SOFTPLUS:   return ak_softplus(x);
    case AK_HARDSWISH:  return ak_hardswish(x);
    case AK_QUICK_GELU: return ak_quick_gelu(x);
    case AK_IDENTITY:   return x;
    }
    ak_fail(x->ctx, AK_ERR_VALUE, "ak_activate: unknown activation %d (ak_activation: 0 to %d)",
            (int)kind, (int)AK_IDENTITY);
    return &ak__poison;
}

static ak_tensor *activation_forward(ak_module *m, ak_tensor *x)
{
    return ak_activate(x, *(const ak_activation *)ak_module_user(m));
}

static const ak_module_kind activation_kind = {
    .name = "activation", .forward = activation_forward, AK__STATE(ak_activation) };

ak_module *ak_nn_activation(ak_ctx *ctx, const char *name, ak_activation kind)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return NULL;
    ak_module *m = ak_module_make(ctx, name, &activation_kind);
    if (!m)
        return NULL;
    if ((int)kind < 0 || kind > AK_IDENTITY) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: unknown activation %d", m->name, (int)kind);
        return NULL;
    }
    *(ak_activation *)ak_module_user(m) = kind;
    ak_module_describe(m, "%s", activation_names[kind]);
    return m;
}
