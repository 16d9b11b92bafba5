/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of a study share: records of what was measured, their file, the table. */
#ifndef AK_REPORT_STUDY_INSIDE_H
#define AK_REPORT_STUDY_INSIDE_H

#include <akin/study.h>

#define AK__STUDY_PATH 1200

/* One line of study.jsonl: a measure of a run, or the score of a setting that could be chosen. */
typedef struct ak__record {
    struct ak__record *next;
    bool        choice;
    uint64_t    key;            /* of the run: arm, seed, settings, code */
    const char *arm, *measure;  /* of a choice: what is chosen */
    int         seed;
    double      value, lo, hi;
    int64_t     n;              /* items; 0 = a figure without items. Of a choice: index */
    const char *protocol;       /* of a choice: which items judged */
    const char *folder;         /* of the run, in the study's; of a choice: the setting's text */
    double      seconds, megabytes;
} ak__record;

typedef struct ak__study {
    const ak_study *what;
    ak_ctx     *ctx;            /* of the study: records, paths; runs have their own */
    const char *name, *data;
    char        folder[AK__STUDY_PATH - 200];
    bool        quick, resume;
    int         arms, measures, claims, seeds, baseline;
    bool       *wanted;         /* [arms] */
    uint64_t    code;           /* hash of program, library, environment, quick, data */
    ak__record *records, **last;
    int         lock;
    int         failed;         /* runs */
    double      begun, drawn;   /* seconds: of this process; of the last progress line */
    int         made, to_make, total, there;    /* runs */
} ak__study;

/* One line of the summary that tables, JSON and claims share. */
typedef struct ak__verdict {
    bool        shown, possible;
    const char *why_not;        /* if not possible */
    double      estimate, lo, hi, p;
    const char *over;           /* "seeds and items", "seeds", "items" */
} ak__verdict;

/* study.c */
uint64_t ak__study_key(const ak__study *s, int arm, int seed);

/* study_file.c: reading tells damaged lines and leaves them out; writing replaces the file. */
ak_status ak__study_read(ak__study *s);
ak_status ak__study_write(ak__study *s, bool complete);
ak__record *ak__study_add(ak__study *s, ak__record record);
const ak__record *ak__study_find(const ak__study *s, int arm, int seed, const char *measure);
/* Are all measures of the run there, and its items? */
bool ak__study_done(ak__study *s, int arm, int seed);
/* The items of a result into to[n]; false: recorded in the study's context. */
bool ak__study_items(ak__study *s, const ak__record *r, double *to);

/* study_table.c */
ak__verdict ak__study_judge(ak__study *s, const ak_study_claim *claim);
/* The table into a file; returns how many claims are not shown. */
int ak__study_table(ak__study *s, FILE *out);
int ak__study_measure_index(const ak__study *s, const char *name);
int ak__study_arm_index(const ak__study *s, const char *name);

#endif
