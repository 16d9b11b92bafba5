/* SPDX-License-Identifier: Apache-2.0 */
/* header_test.c - compiled once per public header: each stands alone, and twice is fine. */
#include AKIN_HEADER
#include AKIN_HEADER

int akin_header_is_fine;
