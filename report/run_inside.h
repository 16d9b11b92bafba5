/* SPDX-License-Identifier: Apache-2.0 */
/* What studies need of run folders beyond akin/report.h. */
#ifndef AK_REPORT_RUN_INSIDE_H
#define AK_REPORT_RUN_INSIDE_H

#include <akin/report.h>

/* Write the settings now, if no line of the log has done so: a run that logs nothing, or that is
 * killed, says what it was made with. Errors as ak_run_log; also while another is pending. */
ak_status ak__run_describe(ak_run *run);

#endif
