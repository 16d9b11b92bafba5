/* SPDX-License-Identifier: Apache-2.0 */
/* akin/ops.h - every differentiable op.
 *
 * Ops take tensors of one context and return a new tensor that belongs to the running step (gone
 * after ak_step_end). Shapes that do not fit are AK_ERR_SHAPE, options out of range AK_ERR_VALUE;
 * the result is then the poison tensor. An axis counts from 0, or from the end if negative.
 * "like x" means the shape of x. N batch, D embedding, C channels, H W picture, T time.
 *
 *     ak_tensor *z = ak_l2_normalize(x);                       // [N, D]
 *     ak_tensor *s = ak_scale(ak_matmul_nt(z, z), 1 / 0.2);    // [N, N] cosines over tau
 *     ak_tensor *l = ak_mean(ak_logsumexp(s, 1));              // a scalar
 *
 * Losses over pairs of embeddings are in akin/losses.h, layers with parameters in akin/nn.h.
 */
#ifndef AKIN_OPS_H
#define AKIN_OPS_H

#include <akin/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- elementwise, two operands: shapes broadcast as in NumPy -------------------------------- */

/* y = a + b, a - b, a b, a / b, max(a, b), min(a, b), element by element.
 *
 *   a, b     shapes are aligned at their last axes; an axis of 1, or one that is missing, is
 *            repeated: [N, C] with [C], [N, 1] or a scalar, [N, 1, D] with [M, 1]
 *   returns  the joint shape; belongs to the step
 *   grad     add: dy, dy. sub: dy, -dy. mul: b dy, a dy. div: dy / b, -y dy / b. maximum and
 *            minimum: to the one that was taken, half to each where they are equal. Summed over
 *            the axes along which an operand was repeated.
 *   errors   AK_ERR_SHAPE if two axes differ and neither is 1. A NaN in either operand is kept.
 */
AK_API ak_tensor *ak_add(ak_tensor *a, ak_tensor *b);
AK_API ak_tensor *ak_sub(ak_tensor *a, ak_tensor *b);
AK_API ak_tensor *ak_mul(ak_tensor *a, ak_tensor *b);
AK_API ak_tensor *ak_div(ak_tensor *a, ak_tensor *b);
AK_API ak_tensor *ak_maximum(ak_tensor *a, ak_tensor *b);
AK_API ak_tensor *ak_minimum(ak_tensor *a, ak_tensor *b);

/* y = 1 where the comparison holds, else 0: a constant.
 *
 *   a, b     broadcast as above. A scalar threshold is ak_full(ctx, AK_SCALAR, 0.5)
 *   returns  the joint shape; belongs to the step
 *   grad     none, even if a or b could take one: y is piecewise constant
 *   errors   AK_ERR_SHAPE as above
 *   NaN      is equal to nothing, not even to itself: not_equal gives 1 there, the others 0;
 *            -0 equals 0
 */
AK_API ak_tensor *ak_equal(const ak_tensor *a, const ak_tensor *b);
AK_API ak_tensor *ak_not_equal(const ak_tensor *a, const ak_tensor *b);
AK_API ak_tensor *ak_less(const ak_tensor *a, const ak_tensor *b);
AK_API ak_tensor *ak_less_equal(const ak_tensor *a, const ak_tensor *b);
AK_API ak_tensor *ak_greater(const ak_tensor *a, const ak_tensor *b);
AK_API ak_tensor *ak_greater_equal(const ak_tensor *a, const ak_tensor *b);

/* ---- elementwise, one operand: result like x ------------------------------------------------ */

/* x of any shape -> like x, belongs to the step. grad: dx = dy times the derivative, which is
 * written where it is not the textbook's. errors: AK_ERR_VALUE for an option that is not a
 * number. NaN in gives NaN out. */
AK_API ak_tensor *ak_neg(ak_tensor *x);                     /* -x */
AK_API ak_tensor *ak_scale(ak_tensor *x, double a);         /* a x */
AK_API ak_tensor *ak_add_scalar(ak_tensor *x, double a);    /* x + a */
AK_API ak_tensor *ak_pow(ak_tensor *x, double p);           /* x^p; NaN for x < 0, p not whole */
AK_API ak_tensor *ak_exp(ak_tensor *x);                     /* e^x */
AK_API ak_tensor *ak_log(ak_tensor *x);                     /* ln x; -inf at 0, NaN below */
AK_API ak_tensor *ak_log1p(ak_tensor *x);                   /* ln(1 + x), exact near 0 */
AK_API ak_tensor *ak_expm1(ak_tensor *x);                   /* e^x - 1, exact near 0 */
AK_API ak_tensor *ak_sqrt(ak_tensor *x);                    /* gradient 0 at 0 */
AK_API ak_tensor *ak_rsqrt(ak_tensor *x);                   /* 1 / sqrt(x) */
AK_API ak_tensor *ak_square(ak_tensor *x);                  /* x^2 */
AK_API ak_tensor *ak_abs(ak_tensor *x);                     /* |x|; gradient 0 at 0 */
/* min(max(x, lo), hi); gradient dy inside [lo, hi], else 0. errors: AK_ERR_VALUE unless lo <= hi */
AK_API ak_tensor *ak_clamp(ak_tensor *x, double lo, double hi);
AK_API ak_tensor *ak_relu(ak_tensor *x);                    /* max(x, 0); gradient 0 at 0 */
AK_API ak_tensor *ak_leaky_relu(ak_tensor *x, double slope);    /* x > 0 ? x : slope x */
AK_API ak_tensor *ak_elu(ak_tensor *x, double alpha);       /* x > 0 ? x : alpha (e^x - 1) */
AK_API ak_tensor *ak_gelu(ak_tensor *x);                    /* x Phi(x) */
AK_API ak_tensor *ak_gelu_tanh(ak_tensor *x);               /* the tanh approximation */
AK_API ak_tensor *ak_silu(ak_tensor *x);                    /* x sigmoid(x) */
AK_API ak_tensor *ak_sigmoid(ak_tensor *x);                 /* 1 / (1 + e^-x) */
AK_API ak_tensor *ak_tanh(ak_tensor *x);
AK_API ak_tensor *ak_softplus(ak_tensor *x);                /* ln(1 + e^x), exact everywhere */
AK_API ak_tensor *ak_log_sigmoid(ak_tensor *x);             /* -ln(1 + e^-x), exact everywhere */
AK_API ak_tensor *ak_sin(ak_tensor *x);                     /* NaN at +-inf, as cos */
AK_API ak_tensor *ak_cos(ak_tensor *x);
AK_API ak_tensor *ak_erf(ak_tensor *x);
AK_API ak_tensor *ak_hardswish(ak_tensor *x);               /* x min(max(x + 3, 0), 6) / 6 */
AK_API ak_tensor *ak_quick_gelu(ak_tensor *x);              /* x sigmoid(1.702 x) */

/* ---- reductions: over everything to a scalar, or over one axis, which disappears ------------ */

/* Sum and mean of all elements.
 *
 *   x        any shape
 *   returns  a scalar of the step; the sum of no elements is 0. Partial sums are in double; the
 *            mean is a number even where the sum is not.
 *   grad     dx = dy, or dy / number of elements
 *   errors   AK_ERR_SHAPE for the mean of no elements
 */
AK_API ak_tensor *ak_sum(ak_tensor *x);
AK_API ak_tensor *ak_mean(ak_tensor *x);

/* Over one axis of n elements.
 *
 *   sum_axis   sum x                    mean_axis  sum x / n
 *   var_axis   sum (x - mean)^2 / (n - correction): correction 1 is the unbiased estimate
 *   max_axis   largest                  min_axis   smallest
 *   logsumexp  ln sum e^x, shifted by the largest: exact for any range; -inf if all are -inf
 *   x        rank >= 1, axis in [-rank, rank)
 *   returns  the shape of x without the axis; belongs to the step. Rounding errors do not grow with
 *            n, and a mean or variance is a number even where the sum or the squares are not
 *   grad     dy; dy / n; 2 (x - mean) dy / (n - correction); max, min: dy to the first of the
 *            largest (smallest); logsumexp: dy softmax(x), 0 where y = -inf
 *   errors   AK_ERR_SHAPE for the axis, and for an axis of no elements (sum_axis gives 0 there,
 *            logsumexp -inf); AK_ERR_VALUE unless 0 <= correction < n
 */
AK_API ak_tensor *ak_sum_axis(ak_tensor *x, int axis);
AK_API ak_tensor *ak_mean_axis(ak_tensor *x, int axis);
AK_API ak_tensor *ak_var_axis(ak_tensor *x, int axis, int correction);
AK_API ak_tensor *ak_max_axis(ak_tensor *x, int axis);
AK_API ak_tensor *ak_min_axis(ak_tensor *x, int axis);
AK_API ak_tensor *ak_logsumexp(ak_tensor *x, int axis);
/* The same with the axis kept, as 1, so that the result broadcasts with x:
 *
 *     ak_div(ak_sub(x, ak_mean_keepdim(x, 1)), ak_sqrt(ak_var_keepdim(x, 1, 0)));
 *
 *   returns  the shape of x with 1 for the axis; all else as above */
AK_API ak_tensor *ak_sum_keepdim(ak_tensor *x, int axis);
AK_API ak_tensor *ak_mean_keepdim(ak_tensor *x, int axis);
AK_API ak_tensor *ak_var_keepdim(ak_tensor *x, int axis, int correction);
AK_API ak_tensor *ak_max_keepdim(ak_tensor *x, int axis);
AK_API ak_tensor *ak_min_keepdim(ak_tensor *x, int axis);
AK_API ak_tensor *ak_logsumexp_keepdim(ak_tensor *x, int axis);

/* y[i] = x[0] + .. + x[i] along an axis; like x. grad: dx[i] = dy[i] + .. + dy[n-1].
 * errors: AK_ERR_SHAPE for the axis */
AK_API ak_tensor *ak_cumsum(ak_tensor *x, int axis);
/* Place of the first largest, or smallest, element along an axis; the first NaN if there is one.
 *
 *   x        rank >= 1, axis in [-rank, rank)
 *   returns  the shape of x without the axis; belongs to the step
 *   grad     none
 *   errors   AK_ERR_SHAPE for the axis or an empty one (the poison index)
 */
AK_API ak_index *ak_argmax(const ak_tensor *x, int axis);
AK_API ak_index *ak_argmin(const ak_tensor *x, int axis);
/* The elements along an axis in order, all of them or the first `count`.
 *
 *   sort     y[i] = x[places[i]], ascending or descending
 *   topk     the `count` largest, the largest first; or smallest, the smallest first
 *   x        rank >= 1, axis in [-rank, rank); count in [1, n]
 *   order    elements that are equal (-0 and 0 are) keep their order: the lower place first, both
 *            ways. A NaN counts as larger than every number: last of ascending ones, first of
 *            descending ones, and among the smallest only where numbers do not suffice
 *   returns  like x, for topk with `count` for the axis; belongs to the step
 *   places   NULL, or gets the places along the axis, of the same shape: an index array of the
 *            step, the poison index after an error
 *   grad     dx[places[i]] = dy[i], 0 elsewhere
 *   errors   AK_ERR_SHAPE for the axis; AK_ERR_VALUE for count
 */
AK_API ak_tensor *ak_sort(ak_tensor *x, int axis, bool descending, ak_index **places);
AK_API ak_tensor *ak_topk(ak_tensor *x, int64_t count, int axis, bool largest, ak_index **places);

/* ---- products ------------------------------------------------------------------------------- */

/* Products of matrices, one or many.
 *
 *   matmul     y = a b      a [.., M, K], b [.., K, N]
 *   matmul_nt  y = a b^T    a [.., M, K], b [.., N, K]
 *   matmul_tn  y = a^T b    a [.., K, M], b [.., K, N]
 *   leading axes are equal, or one operand is a matrix that all products share
 *   returns  [.., M, N]; belongs to the step; zeros for K = 0
 *   grad     matmul: da = dy b^T, db = a^T dy; nt: da = dy b, db = dy^T a; tn: da = b dy^T,
 *            db = a dy; summed over the products that share an operand
 *   errors   AK_ERR_SHAPE (the message names the form that would fit)
 */
AK_API ak_tensor *ak_matmul(ak_tensor *a, ak_tensor *b);
AK_API ak_tensor *ak_matmul_nt(ak_tensor *a, ak_tensor *b);
AK_API ak_tensor *ak_matmul_tn(ak_tensor *a, ak_tensor *b);

/* The linear layer, and the same followed by relu in one pass each way.
 *
 *   y = x w^T + b           y = max(x w^T + b, 0)
 *   x        [.., I], w [O, I] (PyTorch's layout), b [O] or NULL
 *   returns  [.., O]; belongs to the step
 *   grad     with g = dy (where y > 0 for relu): dx = g w, dw = g^T x, db = sum of the rows of g
 *   errors   AK_ERR_SHAPE
 */
AK_API ak_tensor *ak_linear(ak_tensor *x, ak_tensor *w, ak_tensor *b);
AK_API ak_tensor *ak_linear_relu(ak_tensor *x, ak_tensor *w, ak_tensor *b);

/* ---- layout --------------------------------------------------------------------------------- */
/* ak_reshape, ak_rows, ak_flatten are aliases: akin/tensor.h. Everything here copies; the gradient
 * of an element goes back to where it came from, summed where it was taken several times. Errors
 * are AK_ERR_SHAPE, for index values AK_ERR_VALUE (the message names the first bad one), for index
 * arrays of an earlier step AK_ERR_STALE. Index arrays must live as long as the tape. */

/* Joined along an axis: operands agree in all other axes. n >= 1 operands. */
AK_API ak_tensor *ak_concat(int axis, ak_tensor *a, ak_tensor *b);
AK_API ak_tensor *ak_concat_n(int axis, ak_tensor *const *x, int n);
AK_API ak_tensor *ak_stack(ak_tensor *const *x, int n);         /* n of [..] -> [n, ..] */
/* Entries start .. start+count-1 of an axis. */
AK_API ak_tensor *ak_slice(ak_tensor *x, int axis, int64_t start, int64_t count);
/* Equal parts along an axis into out[parts]; all poison if it fails. */
AK_API ak_status ak_split(ak_tensor *x, int axis, int parts, ak_tensor **out);
AK_API ak_tensor *ak_transpose(ak_tensor *x);                   /* last two axes change places */
/* Axis i of the result is axis axes[i] of x; axes[x->shape.n] holds each once. */
AK_API ak_tensor *ak_permute(ak_tensor *x, const int *axes);
/* y[i] = x[rows[i]]: x [N, ..], rows [..] in [0, N) -> [rows.., ..] */
AK_API ak_tensor *ak_gather_rows(ak_tensor *x, ak_index *rows);
/* y = 0, y[rows[i]] += x[i], in the order of i: x [rows.., ..], rows [..] in [0, N) -> [N, ..] */
AK_API ak_tensor *ak_scatter_add_rows(ak_tensor *x, ak_index *rows, int64_t N);
/* y[i] = w[ids[i]]: w [V, D], ids [..] in [0, V) -> [.., D]. Row `padding` of w, in [0, V), gets no
 * gradient; AK_NONE: there is no such row. */
AK_API ak_tensor *ak_embedding(ak_tensor *w, ak_index *ids, int padding);
typedef enum ak_bag_mode { AK_BAG_MEAN = 0, AK_BAG_SUM, AK_BAG_MAX } ak_bag_mode;
typedef struct ak_embedding_bag_options {
    ak_bag_mode mode;
    ak_index  *lengths;     /* [N] in [0, T]: bag n has the ids 0 .. length-1; NULL = all */
    ak_tensor *weights;     /* [N, T], a weight of each id; not for AK_BAG_MAX; NULL = 1 */
    int        padding;     /* an id that counts for nothing; it is meant if */
    bool       has_padding; /* this is set */
} ak_embedding_bag_options;
/* Bags of ids: the rows of a table, reduced, without an array of all rows.
 *
 *   sum      y[n] = sum_t weights[n, t] w[ids[n, t]]       mean     that / sum_t weights[n, t]
 *   max      the largest of each column
 *   w        [V, D];  ids [N, T], in [0, V) within lengths, anything behind
 *   returns  [N, D], zeros for a bag without ids (mean: whose weights add up to 0); of the step
 *   grad     by w, to the rows that ids name, and by the weights; max: to the first of the largest
 *   errors   AK_ERR_SHAPE; AK_ERR_VALUE for ids (the first bad one), lengths, mode, padding
 */
AK_API ak_tensor *ak_embedding_bag(ak_tensor *w, ak_index *ids, ak_embedding_bag_options o);
/* cond != 0 ? a : b. All three of one shape. cond gets no gradient, even if it could take one: y is
 * piecewise constant in it. */
AK_API ak_tensor *ak_where(const ak_tensor *cond, ak_tensor *a, ak_tensor *b);
AK_API ak_tensor *ak_diagonal(ak_tensor *x);                    /* [N, N] -> [N] */
/* x [.., T, S] where column >= row + diagonal (upper) or column <= row + diagonal (lower), else
 * `fill` (-INFINITY makes a causal mask of scores). */
AK_API ak_tensor *ak_triangle(ak_tensor *x, bool upper, int diagonal, double fill);
/* ids [..] in [0, classes) -> [.., classes], a constant: 1 at the id, else 0 */
AK_API ak_tensor *ak_one_hot(ak_index *ids, int64_t classes);
/* y[i] = x[i, columns[i]]: x [N, C], N columns in [0, C) -> [N] */
AK_API ak_tensor *ak_pick(ak_tensor *x, ak_index *columns);

/* Rows by segment: over all rows i with ids[i] = s.
 *
 *   segment_sum      y[s] = sum x[i]; 0 for a segment without rows
 *   segment_mean     y[s] = sum x[i] / number of rows; 0 without rows
 *   segment_max      y[s] = the largest, for each column by itself; -inf without rows
 *   segment_softmax  y[i] = e^x[i] / sum over the rows j of its segment of e^x[j]; zeros where all
 *                    of them are -inf
 *   x        [N, ..];  ids [N] in [0, count), in any order
 *   returns  [count, ..], softmax [N, ..]; belongs to the step. Sums are in double, rows in the
 *            order of i
 *   grad     dx[i] = dy[s];  dy[s] / rows;  max: dy to the first of the largest (the first NaN);
 *            softmax: y[i] (dy[i] - sum over the segment of y dy)
 *   errors   AK_ERR_SHAPE for x or ids; AK_ERR_VALUE for count < 0 and ids out of range
 */
AK_API ak_tensor *ak_segment_sum(ak_tensor *x, ak_index *ids, int64_t count);
AK_API ak_tensor *ak_segment_mean(ak_tensor *x, ak_index *ids, int64_t count);
AK_API ak_tensor *ak_segment_max(ak_tensor *x, ak_index *ids, int64_t count);
AK_API ak_tensor *ak_segment_softmax(ak_tensor *x, ak_index *ids, int64_t count);

/* Square score matrices s [n, n] of two stacked views, n = 2 N: row i and row (i + N) mod n are
 * the two views of one sample. */
typedef enum ak_mask_rule { AK_MASK_SELF = 1, AK_MASK_PAIR = 2 } ak_mask_rule;
/* Set s[i, i] (SELF; any n) and s[i, (i + n/2) mod n] (PAIR; even n) to -inf, without gradient
 * there. Where s [N, N] compares one view with the other, partners stand on the diagonal and SELF
 * takes them out. Mask last: while numbers are checked, an op that makes an infinity of -inf (add,
 * scale) is an error; exp, logsumexp, softmax, max and relu do not. errors: AK_ERR_SHAPE,
 * AK_ERR_VALUE for unknown rules */
AK_API ak_tensor *ak_mask(ak_tensor *s, int rules);
/* [n, n], n even -> [n]: y[i] = s[i, (i + n/2) mod n], the scores of the positive pairs */
AK_API ak_tensor *ak_pair_diagonal(ak_tensor *s);

/* ---- softmax and losses on rows ------------------------------------------------------------- */

/* Softmax and its logarithm, along the last axis.
 *
 *   softmax      y = e^x / sum e^x          log_softmax  y = x - log sum e^x, with all digits
 *                                               whatever is added to all x
 *   x        [.., D]   rank >= 1; a row of only -inf gives zeros (softmax) or -inf
 *   returns  [.., D]   belongs to the step
 *   grad     dx = y (dy - <dy, y>);  dx = dy - e^y sum dy
 *   errors   AK_ERR_SHAPE if x is a scalar
 */
AK_API ak_tensor *ak_softmax(ak_tensor *x);
AK_API ak_tensor *ak_log_softmax(ak_tensor *x);

/* What becomes of the losses of N rows. */
typedef enum ak_reduction {
    AK_REDUCE_MEAN,             /* one number: over the rows that count */
    AK_REDUCE_SUM,              /* one number */
    AK_REDUCE_NONE              /* [N] */
} ak_reduction;
typedef struct ak_cross_entropy_options {
    double label_smoothing;     /* s, [0, 1); default 0 */
    int    ignore_index;        /* label that does not count; 0 = -100 */
    bool   has_ignore;          /* ignore_index is meant even if it is 0: set it for a variable one,
                                 * such as the number of a padding token */
    ak_reduction reduction;     /* default: the mean */
    ak_tensor *class_weights;   /* w [C], >= 0, a constant; NULL = 1 */
} ak_cross_entropy_options;
/* Cross-entropy with class numbers.
 *
 *   row loss (1-s) w[target] (-log p[target]) + s/C sum_c w[c] (-log p[c]),  p = softmax(x)
 *   mean     sum of the row losses / sum of w[target] over the rows that count
 *   x        [N, C];  target [N], labels in [0, C), or -1 (unknown, as loaders have it) or
 *            ignore_index, which do not count; must live as long as the tape
 *   returns  a scalar of the step, 0 if no row counts; or [N], 0 for rows that do not count
 *   grad     of a row loss, W = sum w: dx = ((1-s) w[target] + s W/C) p - (1-s) w[target] onehot -
 *            s/C w; 0 for ignored rows
 *   digits   here and below: a number added to all logits changes nothing, however large
 *   errors   AK_ERR_SHAPE; AK_ERR_VALUE for another label (the message names its row), s, a
 *            reduction, or class weights that are negative, not finite or need a gradient
 */
AK_API ak_tensor *ak_cross_entropy(ak_tensor *x, ak_index *target, ak_cross_entropy_options o);
typedef struct ak_soft_options {
    ak_reduction reduction;     /* default: the mean */
    ak_tensor *class_weights;   /* w [C], >= 0, a constant; NULL = 1 */
} ak_soft_options;
/* Cross-entropy with soft targets.
 *
 *   row loss   -sum_c w t log softmax(x);  where w t = 0 nothing is added, whatever x is
 *   mean       over the N rows
 *   x, target  [N, C]; the target need not sum to 1
 *   returns    a scalar of the step, 0 for N = 0; or [N]
 *   grad       of a row loss: dx = softmax(x) sum_c w t - w t;  dt = -w log softmax(x). A target
 *              that should get none: ak_detach(target)
 *   errors     AK_ERR_SHAPE; AK_ERR_VALUE for a reduction or class weights, as above
 */
AK_API ak_tensor *ak_cross_entropy_soft(ak_tensor *x, ak_tensor *target);
AK_API ak_tensor *ak_cross_entropy_soft_with(ak_tensor *x, ak_tensor *target, ak_soft_options o);
/* Kullback-Leibler divergence from targets to logits: as ak_cross_entropy_soft, with the entropy
 * of the target taken off.
 *
 *   sum t (log t - log softmax(x)) / N;  0 log 0 = 0
 *   grad       dx as there;  dt = (log t + 1 - log softmax(x)) / N, -inf where t = 0
 *   shapes, ownership, errors: as ak_cross_entropy_soft
 */
AK_API ak_tensor *ak_kl_div_logits(ak_tensor *x, ak_tensor *target);

/* Means over all elements, with d = x - t.
 *
 *   bce_logits  max(x, 0) - x t + log(1 + e^-|x|)      mse  d^2      l1  |d|
 *   huber       d^2/2 where |d| <= delta, else delta (|d| - delta/2)
 *   smooth_l1   d^2/(2 beta) where |d| < beta, else |d| - beta/2; beta 0 is l1
 *   x, target   one shape of any rank
 *   returns     a scalar of the step; 0 for no elements
 *   grad        by x: sigmoid(x) - t; 2 d; sign d (0 at 0); d cut to +-delta; d/beta cut to +-1;
 *               all divided by the number of elements. By the target: -x for bce_logits, the
 *               negative of that by x for the others. A target that should get none, such as a
 *               teacher's output: ak_detach(target)
 *   errors      AK_ERR_SHAPE; AK_ERR_VALUE unless delta > 0, beta >= 0
 */
AK_API ak_tensor *ak_bce_logits(ak_tensor *x, ak_tensor *target);
AK_API ak_tensor *ak_mse(ak_tensor *x, ak_tensor *target);
AK_API ak_tensor *ak_l1(ak_tensor *x, ak_tensor *target);
AK_API ak_tensor *ak_huber(ak_tensor *x, ak_tensor *target, double delta);
AK_API ak_tensor *ak_smooth_l1(ak_tensor *x, ak_tensor *target, double beta);

/* Cosine of corresponding rows.
 *
 *   y = <a, b> / (max(|a|, 1e-8) max(|b|, 1e-8))
 *   a, b     [.., D]   one shape; rows of any length, 1e30 too
 *   returns  [..]      belongs to the step; 0 for a zero row
 *   grad     da = dy (b/|b| - y a/|a|) / |a|, db likewise; for a zero row dy b/|b| / 1e-8
 *   errors   AK_ERR_SHAPE
 */
AK_API ak_tensor *ak_cosine_similarity(ak_tensor *a, ak_tensor *b);
/* Squared Euclidean distances of all pairs of rows, exact also where points nearly coincide.
 *
 *   y[i,j] = |a_i - b_j|^2
 *   a        [M, D];  b [N, D]
 *   returns  [M, N]   belongs to the step
 *   grad     da_i = 2 sum_j dy_ij (a_i - b_j), db likewise
 *   errors   AK_ERR_SHAPE
 */
AK_API ak_tensor *ak_pairwise_sqdist(ak_tensor *a, ak_tensor *b);

/* ---- norms ---------------------------------------------------------------------------------- */

/* Scale every row to unit Euclidean length.
 *
 *   y = x / max(|x|, 1e-12)   along the last axis
 *   x        [.., D]   rank >= 1; rows of any length, 1e30 too
 *   returns  [.., D]   belongs to the step; a zero row stays zero
 *   grad     dx = (dy - y <dy, y>) / |x|; dy / 1e-12 where |x| is below
 *   errors   AK_ERR_SHAPE if x is a scalar
 */
AK_API ak_tensor *ak_l2_normalize(ak_tensor *x);
/* Layer norm (Ba et al., arXiv 1607.06450) and RMS norm (Zhang & Sennrich, arXiv 1910.07467).
 *
 *   layer_norm  y = (x - mean) / sqrt(var + eps) w + b      eps 0 = 1e-5
 *   rms_norm    y = x / sqrt(mean(x^2) + eps) w             eps 0 = 1e-6
 *   x        [.., D]   statistics along the last axis;  w, b [D] or NULL
 *   returns  [.., D]   belongs to the step
 *   grad     by x, w and b
 *   errors   AK_ERR_SHAPE; AK_ERR_VALUE for a negative eps
 */
AK_API ak_tensor *ak_layer_norm(ak_tensor *x, ak_tensor *w, ak_tensor *b, double eps);
AK_API ak_tensor *ak_rms_norm(ak_tensor *x, ak_tensor *w, double eps);
/* Group norm (Wu & He, arXiv 1803.08494).
 *
 *   y = (x - mean) / sqrt(var + eps) w + b   statistics over the positions of a sample and the
 *                                            C/groups neighbouring channels;  eps 0 = 1e-5
 *   x        [N, .., C]   groups divides C;  w, b [C] or NULL
 *   returns  [N, .., C]   belongs to the step
 *   grad     by x, w and b
 *   errors   AK_ERR_SHAPE; AK_ERR_VALUE for groups or a negative eps
 */
AK_API ak_tensor *ak_group_norm(ak_tensor *x, ak_tensor *w, ak_tensor *b, int groups, double eps);
typedef struct ak_batch_norm_options {
    double eps;         /* [0, ..); 0 = 1e-5 */
    double momentum;    /* share of the batch in the running statistics, [0, 1]; 0 = 0.1,
                         * AK_NONE = they do not move */
    bool   relu;        /* max(., 0) fused */
    int    groups;      /* G parts of the batch with statistics of their own: see below; 0 = 1 */
    bool   no_affine;   /* w and b are NULL: for ak_nn_batch_norm, which then has neither */
} ak_batch_norm_options;
/* Batch norm (Ioffe & Szegedy, arXiv 1502.03167).
 *
 *   y = (x - mean) / sqrt(var + eps) w + b, then max(., 0) if relu
 *   x        [N, .., C];  w, b [C] or NULL.  Train mode: statistics per channel over all other
 *            axes; evaluation mode: the running ones (of the batch if there are none)
 *   running_mean, running_var   [C] or both NULL; changed in train mode (the variance unbiased).
 *            They take no NaN: a batch with a mean or variance that is not finite leaves all of
 *            them as they were. The forward pass goes on; ak_check_numbers and ak_backward refuse
 *            the NaN that it makes
 *   groups   split batch norm (He et al., arXiv 1911.05722, and the authors' demonstration on one
 *            device): in train mode samples [g N/G, (g+1) N/G) are normalised by their own
 *            statistics, as in G calls; the running ones take the mean over groups of what each
 *            group's would be. In evaluation mode groups change nothing. In a part of a batch
 *            (ak_forward_chunked) they are still those of the batch
 *   returns  [N, .., C]   belongs to the step
 *   grad     by x, w and b
 *   errors   AK_ERR_SHAPE, also for a single value per channel (and group) in train mode and for N
 *            that groups do not divide; AK_ERR_VALUE, also for running statistics that need a
 *            gradient
 */
AK_API ak_tensor *ak_batch_norm(ak_tensor *x, ak_tensor *w, ak_tensor *b, ak_tensor *running_mean,
                                ak_tensor *running_var, ak_batch_norm_options o);
/* The end of a residual block in one pass: y = batch norm of x + skip, then max(., 0) if relu.
 *
 *   skip     [N, .., C], like x; NULL = none. All else as ak_batch_norm
 *   returns  [N, .., C]   belongs to the step
 *   grad     also by skip: dy (where y > 0 if relu)
 *   errors   also AK_ERR_SHAPE if skip is not like x
 */
AK_API ak_tensor *ak_batch_norm_add(ak_tensor *x, ak_tensor *skip, ak_tensor *w, ak_tensor *b,
                                    ak_tensor *running_mean, ak_tensor *running_var,
                                    ak_batch_norm_options o);

/* ---- convolution and pooling: pictures [N, H, W, C], sequences [N, T, C] -------------------- */

typedef struct ak_conv_options {                /* none above 2^20 */
    int stride;         /* [1, 2^20]; 0 = 1 */
    int padding;        /* zeros on each side, [0, 2^20] */
    int dilation;       /* [1, 2^20]; 0 = 1 */
    int groups;         /* divides I and O; 0 = 1; C for depthwise */
    int output_padding; /* transposed only: [0, max(stride, dilation)); else 0 */
    bool exact;         /* plain sums only: no Winograd (see below) */
} ak_conv_options;
/* A 3x3 convolution of stride 1 or 2 with at least 16 channels is computed by Winograd's algorithm,
 * which multiplies less and rounds more: its largest error is below 1e-5 of the largest output in
 * float (measured up to 512 channels: 4e-6), where that of plain sums is 1e-6. `exact`, or the
 * context's setting (ak_options.exact_conv, AK_CONV=exact in the environment), avoids it.
 *
 * With the matrix unit of AMX, strided convolutions, and others that gain by it, sum the products
 * of the three bfloat16 that make a float: all of them, with errors no larger than those of plain
 * sums, so `exact` does not avoid it; AK_CPU=avx512 leaves the unit out.
 *
 * Both hold for numbers of any size. Products of split numbers lose nothing above 2^-172, where
 * plain sums lose what is below 2^-150. A result that either way can not hold (sums of split
 * numbers end at 2^82; some of Winograd's numbers are a few hundred times as large as what they
 * make) and what an infinite x, w or dy is part of is computed by plain sums, which takes longer.
 */
/* Convolution of pictures (a correlation: the kernel is not flipped) and of sequences.
 *
 *   y[n,i,j,o] = b[o] + sum_{h,w,c} x[n, i s + h d - p, j s + w d - p, c] w[o,h,w,c]
 *   conv2d   x [N, H, W, I];  w [O, kH, kW, I/groups];  b [O] or NULL
 *   conv1d   x [N, T, I];     w [O, k, I/groups];       b [O] or NULL
 *   returns  [N, H', W', O], [N, T', O]; H' = (H + 2p - d (kH-1) - 1) / s + 1; of the step
 *   grad     by x, w and b
 *   errors   AK_ERR_SHAPE, also for a kernel larger than the padded x; AK_ERR_VALUE for options
 */
AK_API ak_tensor *ak_conv2d(ak_tensor *x, ak_tensor *w, ak_tensor *b, ak_conv_options o);
AK_API ak_tensor *ak_conv1d(ak_tensor *x, ak_tensor *w, ak_tensor *b, ak_conv_options o);
/* The transpose of a convolution: what a convolution's gradient does to its output.
 *
 *   y[n, i s + h d - p, j s + w d - p, o] += x[n,i,j,c] w[c,h,w,o], then + b[o]
 *   x [N, H, W, I];  w [I, kH, kW, O/groups];  b [O] or NULL
 *   returns  [N, H', W', O]; H' = (H-1) s - 2p + d (kH-1) + output_padding + 1; of the step
 *   grad     by x, w and b
 *   errors   AK_ERR_SHAPE; AK_ERR_VALUE for options
 */
AK_API ak_tensor *ak_conv2d_transposed(ak_tensor *x, ak_tensor *w, ak_tensor *b, ak_conv_options o);

typedef struct ak_pool_options {
    int kernel;         /* side of the window, [1, ..) */
    int stride;         /* [1, ..); 0 = kernel */
    int padding;        /* on each side, [0, kernel/2] */
} ak_pool_options;
/* Largest and mean of windows.
 *
 *   y[n,i,j,c] = max or mean of x[n, i s - p + 0..kernel-1, j s - p + 0..kernel-1, c]
 *   x        [N, H, W, C]; padding never is the largest, but counts as 0 in the mean
 *   digits   the rounding error of a mean does not grow with the window, here and below
 *   returns  [N, H', W', C]; H' = (H + 2p - kernel) / s + 1; belongs to the step
 *   grad     to the first largest; evenly
 *   errors   AK_ERR_SHAPE, AK_ERR_VALUE
 */
AK_API ak_tensor *ak_max_pool2d(ak_tensor *x, ak_pool_options o);
AK_API ak_tensor *ak_avg_pool2d(ak_tensor *x, ak_pool_options o);
/* Means to a given size.
 *
 *   adaptive  y[n,i,j,c] = mean over rows floor(i H/oh) .. ceil((i+1) H/oh) - 1, columns likewise
 *   global    y[n,c] = mean over all positions
 *   x         [N, H, W, C] (global: [N, .., C])
 *   returns   [N, oh, ow, C]; [N, C]; belongs to the step
 *   grad      evenly
 *   errors    AK_ERR_SHAPE, AK_ERR_VALUE for oh, ow < 1
 */
AK_API ak_tensor *ak_adaptive_avg_pool2d(ak_tensor *x, int64_t oh, int64_t ow);
AK_API ak_tensor *ak_global_avg_pool(ak_tensor *x);
/* Generalised mean (Radenovic, Tolias, Chum, arXiv 1711.02512): the mean for p = 1, towards the
 * largest for a large p, the geometric mean for p = 0, the harmonic one for p = -1.
 *
 *   y[n,c] = (mean over all positions of max(x[n,..,c], eps)^p)^(1/p)
 *   x        [N, .., C];  p [1], or [C]: any finite numbers, no power of which is ever formed, so
 *            that none overflows
 *   eps      (0, ..); 0 = 1e-6
 *   returns  [N, C]   belongs to the step
 *   grad     by x, none where x < eps, and by p
 *   errors   AK_ERR_SHAPE, AK_ERR_VALUE for eps
 */
AK_API ak_tensor *ak_gem_pool(ak_tensor *x, ak_tensor *p, double eps);
/* Bilinear resizing with half-pixel centres (PyTorch's align_corners false, no antialiasing).
 *
 *   y(i) = x((i + 1/2) H/oh - 1/2), linear between pixels, the border repeated
 *   x        [N, H, W, C]
 *   returns  [N, oh, ow, C]   belongs to the step
 *   grad     with the same weights
 *   errors   AK_ERR_SHAPE, AK_ERR_VALUE for oh, ow < 1
 */
AK_API ak_tensor *ak_resize_bilinear(ak_tensor *x, int64_t oh, int64_t ow);

/* ---- attention: sequences [N, T, C] --------------------------------------------------------- */

typedef struct ak_attention_options {
    int    heads;       /* H: operands are [N, T, H D], as projections make them; 0: [N, H, T, D] */
    double scale;       /* of the scores, (0, ..); 0 = 1 / sqrt(D) */
    bool   causal;      /* query i sees the keys 0 .. i only, also where Tq and Tk differ */
    ak_index  *key_lengths; /* [N] in [0, Tk]: sample n has the keys 0 .. length-1; NULL = all */
    ak_index  *key_mask;    /* [N, Tk]: 0 = padding, 1 = a key; NULL = all are keys. Padding in
                             * front of a key must hold finite numbers */
    ak_tensor *bias;        /* added to the scaled scores: [Tq, Tk], [H, Tq, Tk] or
                             * [N, H, Tq, Tk]; -INFINITY hides a key; NULL = none */
    /* With causal: */
    ak_index  *past;        /* [N] in [0, Tk]: keys in front of the queries' own: query i sees the
                             * keys 0 .. past[n] + i; NULL = 0 */
    ak_index  *prefix;      /* [N] in [0, Tk]: every query sees the first prefix[n] keys as well;
                             * NULL = 0 */
    double     dropout;     /* of the probabilities in train mode, [0, 1): as ak_dropout */
} ak_attention_options;
/* Scaled dot-product attention (Vaswani et al., arXiv 1706.03762), of each head by itself.
 *
 *   y = softmax(scale q k^T + bias) v,  the softmax over the keys that a query sees
 *   q        [N, H, Tq, D]   or with .heads = H   [N, Tq, H D]
 *   k, v     [N, H, Tk, D], [N, H, Tk, Dv]   or   [N, Tk, H D], [N, Tk, H Dv]
 *   returns  [N, H, Tq, Dv]  or  [N, Tq, H Dv]; belongs to the step. A query that sees no key gives
 *            zeros and has no gradient.
 *   grad     with P = softmax(..), dS = P (dy v^T - <y, dy>): dv = P^T dy, dq = scale dS k,
 *            dk = scale dS^T q, dbias = dS, summed over the samples and heads that share it
 *   memory   scores exist in tiles only, and backward makes them again (Dao et al., arXiv
 *            2205.14135): what is kept is y and two numbers a query
 *   errors   AK_ERR_SHAPE; AK_ERR_VALUE for heads, scale, dropout, lengths, the mask, and for past
 *            or prefix without causal. Index arrays must live as long as the tape.
 */
AK_API ak_tensor *ak_attention(ak_tensor *q, ak_tensor *k, ak_tensor *v, ak_attention_options o);
/* The same of operands that lie side by side, as one product makes them: nothing is copied, and
 * their gradient is one. .heads is needed.
 *
 *   kv       [N, Tk, 2 H D]: keys, then values       q [N, Tq, H D]
 *   qkv      [N, T, 3 H D]: queries, keys, values
 */
AK_API ak_tensor *ak_attention_kv(ak_tensor *q, ak_tensor *kv, ak_attention_options o);
AK_API ak_tensor *ak_attention_qkv(ak_tensor *qkv, ak_attention_options o);

typedef struct ak_rotary_options {
    int    heads;       /* H: x is [N, T, H D]; 0: [N, H, T, D] */
    int    turned;      /* heads of these that are turned, the first ones; 0 = all. Queries and keys
                         * of ak_attention_qkv are the first two thirds */
    int    width;       /* features of a head that are turned, the first ones, even; 0 = all */
    double base;        /* 0 = 10000 */
    bool   interleaved; /* pairs are (2i, 2i + 1); else (i, i + width/2) */
    ak_index *start;    /* [N] >= 0: position of sample n's first row; NULL = 0 */
} ak_rotary_options;
/* Rotary positions (Su et al., arXiv 2104.09864): pair i of a head at position t is turned by the
 * angle t base^(-2i / width).
 *
 *   x        [N, H, T, D] or [N, T, H D]
 *   returns  like x; belongs to the step
 *   grad     dx = dy turned back
 *   errors   AK_ERR_SHAPE; AK_ERR_VALUE for heads, turned, width, base or start
 */
AK_API ak_tensor *ak_rotary(ak_tensor *x, ak_rotary_options o);

typedef struct ak_relative_options {
    int  max_distance;  /* from here on all distances are the last bucket; 0 = 128 */
    bool one_sided;     /* keys behind the query share bucket 0; else half of them is theirs */
    ak_index *past;     /* [N] >= 0: position of sample n's first query; NULL = 0 */
} ak_relative_options;
/* Relative position bias in buckets of distances (T5: Raffel et al., arXiv 1910.10683): half of the
 * buckets of a side are single distances, the others grow with the logarithm.
 *
 *   y[h,i,j] = table[bucket(j - i - past), h]
 *   table    [buckets, H], 4 buckets at least (one_sided: 2)
 *   returns  [H, Tq, Tk], with .past [N, H, Tq, Tk]; belongs to the step
 *   grad     dtable[b, h] = the sum of dy over the pairs in that bucket
 *   errors   AK_ERR_SHAPE; AK_ERR_VALUE for Tq, Tk < 1, a max_distance not above the single
 *            distances, past
 */
AK_API ak_tensor *ak_relative_bias(ak_tensor *table, int64_t Tq, int64_t Tk,
                                   ak_relative_options o);

/* ---- joined --------------------------------------------------------------------------------- */

/* Several linear layers of one x, side by side without a copy:
 *
 *   y = [x w0^T + b0 | x w1^T + b1 | ..]
 *   x        [.., I];  w[i] [O_i, I];  b[i] [O_i] or NULL, b NULL: none; n in [1, 3]
 *   returns  [.., sum O_i]; belongs to the step
 *   grad     as ak_linear, dx summed
 *   errors   AK_ERR_SHAPE; AK_ERR_VALUE for n
 */
AK_API ak_tensor *ak_linear_joined(ak_tensor *x, ak_tensor *const *w, ak_tensor *const *b, int n);

typedef enum ak_gate { AK_GATE_SILU = 0, AK_GATE_GELU, AK_GATE_GELU_TANH, AK_GATE_RELU } ak_gate;
/* Gated activation (GLU variants: Shazeer, arXiv 2002.05202): SwiGLU is AK_GATE_SILU.
 *
 *   y = f(a) b,  x = [a | b]
 *   x        [.., 2 F]
 *   returns  [.., F]; belongs to the step
 *   grad     da = f'(a) b dy, db = f(a) dy
 *   errors   AK_ERR_SHAPE for an odd last axis; AK_ERR_VALUE for another gate
 */
AK_API ak_tensor *ak_gated(ak_tensor *x, ak_gate gate);

/* ---- recurrent: sequences [N, T, C] --------------------------------------------------------- */

/* Of one direction, in PyTorch's layout: the rows of gate r, of z, of n (here m). */
typedef struct ak_gru_weights {
    ak_tensor *w_ih, *w_hh;     /* [3 H, I], [3 H, H] */
    ak_tensor *b_ih, *b_hh;     /* [3 H] or NULL, each by itself */
} ak_gru_weights;
typedef struct ak_gru_options {
    ak_gru_weights reverse;     /* a second direction, from the last valid step to the first; all
                                 * NULL = none */
    ak_tensor *initial;         /* [N, directions, H] states before the first step; NULL = 0 */
    ak_index  *lengths;         /* [N] in [0, T]: sample n has steps 0 .. length-1; NULL = all */
} ak_gru_options;
/* Gated recurrent unit (Cho et al., arXiv 1406.1078, in PyTorch's form), from step to step:
 *
 *   r = sigmoid(w_r x + b_r + v_r h + c_r);  z likewise;  m = tanh(w_m x + b_m + r (v_m h + c_m))
 *   h' = (1 - z) m + z h        w, b: rows of w_ih, b_ih; v, c: rows of w_hh, b_hh
 *   x        [N, T, I]
 *   returns  [N, T, H], all states; with .reverse [N, T, 2 H], those of both directions at each
 *            step. 0 in padding, where x is not read. Belongs to the step
 *   grad     by x, .initial and all weights and biases; 0 for x in padding
 *   memory   four numbers a state are kept for backward
 *   errors   AK_ERR_SHAPE; AK_ERR_VALUE for lengths, and for one matrix of .reverse without the
 *            other. Index arrays must live as long as the tape
 */
AK_API ak_tensor *ak_gru(ak_tensor *x, ak_gru_weights w, ak_gru_options o);

/* ---- random --------------------------------------------------------------------------------- */

/* Dropout: zero with probability p, the others times 1 / (1 - p). The mask is a function of the
 * context's seed and next stream alone.
 *
 *   x        any shape, p in [0, 1)
 *   returns  like x, belongs to the step; x itself in evaluation mode (ak_train_mode) or for p = 0
 *   grad     the same mask and factor on dy
 *   errors   AK_ERR_VALUE for p
 */
AK_API ak_tensor *ak_dropout(ak_tensor *x, double p);
/* x + sigma n, n standard normal; dx = dy; otherwise as ak_dropout, with sigma >= 0. */
AK_API ak_tensor *ak_gaussian_noise(ak_tensor *x, double sigma);

#ifdef __cplusplus
}
#endif
#endif
