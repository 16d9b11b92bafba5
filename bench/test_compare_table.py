#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The marks decide as they say, and bench/marks.json is sound. Needs neither PyTorch nor NumPy."""
import os
import re
import unittest

import compare_table as table

MARKS = [
    {"title": "square", "rows": "^gemm .. 512", "must": {"ratio": 0.95, "peak": 0.85},
     "goal": {"ratio": 1.0}},
    {"title": "small", "rows": "^gemm ", "must": {"mean": 1.0, "ratio": 0.9},
     "goal": {"mean": 1.2}},
    {"title": "start", "rows": "^start", "must": {"ms": 100}, "goal": {"ms": 30}},
    {"title": "memory", "rows": "^memory", "must": {"mb_ratio": 0.7}, "goal": {"mb_ratio": 0.5}},
]


def row(name, **values):
    return {"row": name, **values}


def timed(name, ours, peer, **values):
    return row(name, ours=ours, peer=peer, ratio=peer / ours, **values)


def run_of(*rows):
    return {"machine": {}, "rows": list(rows)}


def marks_of(*rows):
    return dict(table.verdicts(run_of(*rows), MARKS))


class Groups(unittest.TestCase):
    def test_a_row_belongs_to_the_first_group_that_it_fits(self):
        rows = [row("other"), row("gemm nn 64"), row("gemm nn 512")]
        grouped = [(g["title"], [r["row"] for r in mine])
                   for g, mine in table.group_rows(rows, MARKS)]
        self.assertEqual(grouped, [("square", ["gemm nn 512"]), ("small", ["gemm nn 64"]),
                                   ("other rows", ["other"])])


class Verdicts(unittest.TestCase):
    def test_every_row_has_to_hold_a_ratio_and_a_share_of_the_peak(self):
        fine = timed("gemm nn 512", 1.0, 1.02, of_peak=0.9)
        self.assertEqual(marks_of(fine), {"square": "goal"})
        self.assertEqual(marks_of(fine, timed("gemm nt 512", 1.0, 0.96, of_peak=0.9)),
                         {"square": "met"})
        self.assertEqual(marks_of(fine, timed("gemm nt 512", 1.0, 1.1, of_peak=0.8)),
                         {"square": "below"})

    def test_a_mean_is_geometric_and_no_row_may_fall_below_its_own_limit(self):
        self.assertEqual(marks_of(timed("gemm nn 64", 1, 0.92), timed("gemm nt 64", 1, 1.6)),
                         {"small": "goal"})
        # 0.8 and 1.25 have the arithmetic mean 1.025, but a geometric one of 1.
        self.assertAlmostEqual(table.geometric_mean([0.8, 1.25]), 1)
        self.assertEqual(marks_of(timed("gemm nn 64", 1, 0.89), timed("gemm nt 64", 1, 9)),
                         {"small": "below"})

    def test_times_and_memory_are_upper_limits(self):
        self.assertEqual(marks_of(timed("start", 29, 2000)), {"start": "goal"})
        self.assertEqual(marks_of(timed("start", 31, 2000)), {"start": "met"})
        self.assertEqual(marks_of(timed("start", 101, 2000)), {"start": "below"})
        self.assertEqual(marks_of(row("memory x", mb=60, peer_mb=100)), {"memory": "met"})
        self.assertEqual(marks_of(row("memory x", mb=80, peer_mb=100)), {"memory": "below"})

    def test_what_was_not_measured_is_no_success(self):
        self.assertEqual(marks_of(row("start", error="ours: it ended")), {"start": "?"})
        self.assertEqual(marks_of(timed("gemm nn 512", 1, 2)), {"square": "?"})
        self.assertEqual(marks_of(timed("gemm nn 512", 1, 0.5), row("gemm nt 512")),
                         {"square": "below"})

    def test_strict_wants_marks_and_agreement(self):
        fine = timed("start", 20, 2000)
        self.assertTrue(table.all_met(run_of(fine), MARKS))
        for bad in ({"agrees": False}, {"error": "peer: no"}, {"ours": 200}):
            self.assertFalse(table.all_met(run_of(fine | bad), MARKS))


class Text(unittest.TestCase):
    def test_units(self):
        self.assertEqual([table.time_text(ms) for ms in (None, 4e-5, 0.25, 12.345, 2500)],
                         ["-", "40 ns", "250 us", "12.3 ms", "2.5 s"])

    def test_limits(self):
        self.assertEqual(table.limits_text({"mean": 1.0, "ratio": 0.9}, False), ">= 0.9")
        self.assertEqual(table.limits_text({"mean": 1.0, "ratio": 0.9}, True), "mean >= 1")
        self.assertEqual(table.limits_text({"ms": 0.00015}, False), "<= 150 ns")

    def test_a_table_has_every_row_and_the_mean_of_its_group(self):
        machine = {"cpu": "c", "threads": 2, "isa": "i", "gflops": 1, "bandwidth": {}, "load": 0,
                   "date": "today", "best": False}
        run = {"machine": machine, "rows": [timed("gemm nn 64", 1, 1.25), row("x")]}
        for text in (table.as_text(run, MARKS), table.as_markdown(run, MARKS)):
            self.assertIn("gemm nn 64", text)
            self.assertIn("= small", text)
            self.assertRegex(text, "1 groups at their goal")

    def test_a_rate_shows_its_share_of_the_peak_where_that_has_a_limit(self):
        product = timed("gemm nn 512", 1.0, 1.0, of_peak=0.874, work=4e8)
        self.assertEqual(table.rate_text(product, True), "400.0, 87 %")
        self.assertEqual(table.rate_text(product, False), "400.0")
        self.assertEqual(table.rate_text(row("x"), True), "")


class Marks(unittest.TestCase):
    def test_they_can_be_read_and_a_goal_is_no_easier_than_a_must(self):
        marks = table.load_marks(os.path.join(os.path.dirname(__file__), "marks.json"))
        self.assertGreater(len(marks), 10)
        for group in marks:
            re.compile(group["rows"])
            self.assertLessEqual(set(group), {"title", "rows", "must", "goal"})
            for condition, goal in group["goal"].items():
                self.assertIn(condition, table.WORDS)
                must = group["must"].get(condition)
                if must is not None:
                    self.assertTrue(table.holds(condition, goal, must), group["title"])


if __name__ == "__main__":
    unittest.main()
