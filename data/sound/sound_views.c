/* SPDX-License-Identifier: Apache-2.0 */
/* Views of sounds: of samples (noise, gain), of any sequence (shift, crop, window), of frames
 * (masks of time and frequency). All are functions of a sequence of steps. */
#include "data/sound/sound.h"

#include "base/base.h"

#include <math.h>
#include <string.h>

#define FIRST_NORMAL 16         /* numbers of a kind's draws before its noise */
#define MOST_MASKS   100

static double uniform(ak_draws d, uint64_t number, double lo, double hi)
{
    return lo + (hi - lo) * ak_draw(d, number);
}

/* A whole number in [0, n], each as likely. */
static int64_t up_to(ak_draws d, uint64_t number, int64_t n)
{
    const int64_t k = (int64_t)(ak_draw(d, number) * (double)(n + 1));
    return k < n ? k : n;
}

static bool is_probability(double p) { return p >= 0 && p <= 1; }

/* ---- sound_noise ----------------------------------------------------------------------------- */

static const char *noise_check(const double *o)
{
    if (!(o[0] >= -100 && o[0] <= o[1] && o[1] <= 200))
        return "the range of dB needs -100 <= lo <= hi <= 200";
    return is_probability(o[2]) ? NULL : "the probability must be in [0, 1]";
}

static void noise_sequence(ak_sequence *x, const double *o, ak_draws d)
{
    const int64_t n = x->length * x->width;
    double        power = 0;
    if (n < 1 || !(ak_draw(d, 0) < o[2]))
        return;
    for (int64_t i = 0; i < n; i++)
        power += (double)x->data[i] * (double)x->data[i];
    const double scale = sqrt(power / (double)n) * pow(10, -uniform(d, 1, o[0], o[1]) / 20);
    for (int64_t i = 0; i < n; i++)
        x->data[i] += (ak_real)(scale * ak_random_normal(d.seed, d.stream,
                                                         FIRST_NORMAL + (uint64_t)i));
}

static const ak_augment_kind sound_noise = {
    .name = "sound_noise",
    .formula = "y = x + s n, n ~ N(0,1), 10 log10(mean x^2 / s^2) ~ U[lo,hi], with probability p",
    .options = "lo, hi, p", .n_options = 3, .sequence = noise_sequence, .check = noise_check,
};

ak_augment ak_sound_noise(double lo, double hi, double p)
{
    return (ak_augment){ &sound_noise, { lo, hi, p } };
}

/* ---- sound_gain ------------------------------------------------------------------------------ */

static const char *gain_check(const double *o)
{
    if (!(o[0] >= -200 && o[0] <= o[1] && o[1] <= 100))
        return "the range of dB needs -200 <= lo <= hi <= 100";
    return is_probability(o[2]) ? NULL : "the probability must be in [0, 1]";
}

static void gain_sequence(ak_sequence *x, const double *o, ak_draws d)
{
    if (!(ak_draw(d, 0) < o[2]))
        return;
    const ak_real gain = (ak_real)pow(10, uniform(d, 1, o[0], o[1]) / 20);
    for (int64_t i = 0; i < x->length * x->width; i++)
        x->data[i] *= gain;
}

static const ak_augment_kind sound_gain = {
    .name = "sound_gain", .formula = "y = x 10^(g/20), g ~ U[lo,hi], with probability p",
    .options = "lo, hi, p", .n_options = 3, .sequence = gain_sequence, .check = gain_check,
};

ak_augment ak_sound_gain(double lo, double hi, double p)
{
    return (ak_augment){ &sound_gain, { lo, hi, p } };
}

/* ---- time_shift ------------------------------------------------------------------------------ */

static const char *shift_check(const double *o)
{
    if (!(o[0] >= 0 && o[0] <= 1))
        return "the share must be in [0, 1]";
    return is_probability(o[2]) ? NULL : "the probability must be in [0, 1]";
}

static void reverse(ak_real *x, int64_t n)
{
    for (int64_t i = 0; i < n / 2; i++) {
        const ak_real a = x[i];
        x[i] = x[n - 1 - i];
        x[n - 1 - i] = a;
    }
}

/* Without memory to work in: turning a whole around and then both of its parts turns it on. */
static void rotate(ak_real *x, int64_t n, int64_t by)
{
    reverse(x, n);
    reverse(x, by);
    reverse(x + by, n - by);
}

static void shift_sequence(ak_sequence *x, const double *o, ak_draws d)
{
    const int64_t T = x->length, n = T * x->width;
    if (T < 1 || !(ak_draw(d, 0) < o[2]))
        return;
    const int64_t by = llround(uniform(d, 1, -o[0], o[0]) * (double)T);
    const int64_t k = (by < 0 ? -by : by) * x->width;
    if (o[1] > 0) {
        if (k % n)
            rotate(x->data, n, by > 0 ? k : n - k);
    } else if (by > 0) {
        memmove(x->data + k, x->data, (size_t)(n - k) * sizeof *x->data);
        memset(x->data, 0, (size_t)k * sizeof *x->data);
    } else if (by < 0) {
        memmove(x->data, x->data + k, (size_t)(n - k) * sizeof *x->data);
        memset(x->data + n - k, 0, (size_t)k * sizeof *x->data);
    }
}

static const ak_augment_kind time_shift = {
    .name = "time_shift",
    .formula = "y[t] = x[t - s], s = round(T U[-share,share]), around or zeros, with probability p",
    .options = "share, around, p", .n_options = 3, .sequence = shift_sequence,
    .check = shift_check,
};

ak_augment ak_time_shift(double share, bool around, double p)
{
    return (ak_augment){ &time_shift, { share, around, p } };
}

/* ---- time_crop, time_window ------------------------------------------------------------------ */

/* Keep `steps` of the steps, from a place drawn by draw 1 on. */
static void keep_steps(ak_sequence *x, int64_t steps, ak_draws d)
{
    if (steps >= x->length)
        return;
    const int64_t from = up_to(d, 1, x->length - steps);
    memmove(x->data, x->data + from * x->width, (size_t)(steps * x->width) * sizeof *x->data);
    x->length = steps;
}

static const char *crop_check(const double *o)
{
    return o[0] > 0 && o[0] <= o[1] && o[1] <= 1 ? NULL : "the share needs 0 < lo <= hi <= 1";
}

static void crop_sequence(ak_sequence *x, const double *o, ak_draws d)
{
    const int64_t steps = llround(uniform(d, 0, o[0], o[1]) * (double)x->length);
    keep_steps(x, steps > 1 ? steps : 1, d);
}

static const ak_augment_kind time_crop = {
    .name = "time_crop", .formula = "round(T U[lo,hi]) steps that follow one another, anywhere",
    .options = "lo, hi", .n_options = 2, .sequence = crop_sequence, .check = crop_check,
};

ak_augment ak_time_crop(double lo, double hi)
{
    return (ak_augment){ &time_crop, { lo, hi } };
}

static const char *window_check(const double *o)
{
    return o[0] >= 1 && o[0] <= INT32_MAX ? NULL : "the steps must be in [1, 2^31 - 1]";
}

static void window_sequence(ak_sequence *x, const double *o, ak_draws d)
{
    keep_steps(x, (int64_t)o[0], d);
}

static const ak_augment_kind time_window = {
    .name = "time_window", .formula = "`steps` steps that follow one another, anywhere",
    .options = "steps", .n_options = 1, .sequence = window_sequence, .check = window_check,
};

ak_augment ak_time_window(int64_t steps)
{
    return (ak_augment){ &time_window, { (double)steps } };
}

/* ---- time_mask, frequency_mask --------------------------------------------------------------- */

enum { MASKS, MOST, SHARE, OWN_VALUE, VALUE };      /* places of their options */

static const char *mask_check(const double *o)
{
    if (!(o[MASKS] >= 0 && o[MASKS] <= MOST_MASKS))
        return "the masks must be 0 to 100";
    if (!(o[MOST] >= 0 && o[MOST] <= INT32_MAX))
        return "most must be in [0, 2^31 - 1]";
    if (!(o[SHARE] >= 0 && o[SHARE] <= 1))
        return "the share must be in [0, 1]";
    return isfinite(o[VALUE]) ? NULL : "the value must be finite";
}

/* What masks are filled with: their own value, or the mean of the sequence before the first. */
static ak_real fill_of(const ak_sequence *x, const double *o)
{
    const int64_t n = x->length * x->width;
    double        sum = 0;
    if (o[OWN_VALUE] > 0)
        return (ak_real)o[VALUE];
    for (int64_t i = 0; i < n; i++)
        sum += (double)x->data[i];
    return (ak_real)(n ? sum / (double)n : 0);
}

/* The k-th mask of an axis of n: how long, and from where on. */
static int64_t draw_mask(ak_draws d, int k, int64_t n, int64_t most, int64_t *from)
{
    const int64_t length = up_to(d, 2 * (uint64_t)k, most < n ? most : n);
    *from = up_to(d, 2 * (uint64_t)k + 1, n - length);
    return length;
}

static void time_mask_sequence(ak_sequence *x, const double *o, ak_draws d)
{
    const int64_t T = x->length, share = (int64_t)(o[SHARE] * (double)T);
    const int64_t most = (int64_t)o[MOST] < share ? (int64_t)o[MOST] : share;
    const ak_real value = fill_of(x, o);
    for (int k = 0; k < (int)o[MASKS]; k++) {
        int64_t       from;
        const int64_t steps = draw_mask(d, k, T, most, &from);
        for (int64_t i = from * x->width; i < (from + steps) * x->width; i++)
            x->data[i] = value;
    }
}

static void frequency_mask_sequence(ak_sequence *x, const double *o, ak_draws d)
{
    const ak_real value = fill_of(x, o);
    for (int k = 0; k < (int)o[MASKS]; k++) {
        int64_t       from;
        const int64_t columns = draw_mask(d, k, x->width, (int64_t)o[MOST], &from);
        for (int64_t t = 0; t < x->length; t++)
            for (int64_t c = from; c < from + columns; c++)
                x->data[t * x->width + c] = value;
    }
}

static const ak_augment_kind time_mask = {
    .name = "time_mask",
    .formula = "`masks` times: steps t0 .. t0 + t - 1 become the mean or value, t ~ U{0..most}",
    .options = "masks, most, share, own value, value", .n_options = 5,
    .sequence = time_mask_sequence, .check = mask_check,
};

static const ak_augment_kind frequency_mask = {
    .name = "frequency_mask",
    .formula = "`masks` times: columns f0 .. f0 + f - 1 become the mean or value, f ~ U{0..most}",
    .options = "masks, most, share (1), own value, value", .n_options = 5,
    .sequence = frequency_mask_sequence, .check = mask_check,
};

ak_augment ak_time_mask(int masks, int64_t most, double share)
{
    return (ak_augment){ &time_mask, { masks, (double)most, share } };
}

ak_augment ak_time_mask_value(int masks, int64_t most, double share, double value)
{
    return (ak_augment){ &time_mask, { masks, (double)most, share, 1, value } };
}

ak_augment ak_frequency_mask(int masks, int64_t most)
{
    return (ak_augment){ &frequency_mask, { masks, (double)most, 1 } };
}

ak_augment ak_frequency_mask_value(int masks, int64_t most, double value)
{
    return (ak_augment){ &frequency_mask, { masks, (double)most, 1, 1, value } };
}

const ak_augment_kind *const ak__sound_augmentations[] = {
    &sound_noise, &sound_gain, &time_shift, &time_crop, &time_window, &time_mask, &frequency_mask,
    NULL,
};
