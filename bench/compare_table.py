# SPDX-License-Identifier: Apache-2.0
"""From measured rows to the table: marks, geometric means, text and Markdown.

A row is a dict: row, ours and peer in ms (mb and peer_mb in MB for memory rows), ratio (peer's time
over ours), and what else was found out (differences, flops, bytes, floor, error). Marks are
bench/marks.json: a list of groups in the order of the table, each with a title, a pattern for its
rows (a row belongs to the first group that it fits), and conditions "must" and "goal":

    ratio      every row: the peer's time over ours, at least
    mean       geometric mean of the ratios of the group, at least
    peak       every row: share of the multiply-add peak at the row's own clock (measured right
               after it ran), at least
    ms, mb     every row: our time, our memory, at most
    mb_ratio   every row: our memory over the peer's, at most
"""
import json
import math
import re

AT_MOST = ("ms", "mb", "mb_ratio")
# What a condition is called in the table.
WORDS = {"ratio": "", "mean": "mean ", "peak": "of peak ", "ms": "", "mb": "",
         "mb_ratio": "memory "}


def load_marks(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def group_rows(rows, marks):
    """[(group, its rows)] in the order of the marks; rows of no group come last."""
    left, grouped = list(rows), []
    for group in marks + [{"title": "other rows", "rows": ""}]:
        mine = [r for r in left if re.search(group["rows"], r["row"])]
        left = [r for r in left if r not in mine]
        if mine:
            grouped.append((group, mine))
    return grouped


def geometric_mean(values):
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


def value_of(row, condition):
    """The value of a row that a condition is about; None if it was not measured."""
    if condition == "ratio":
        return row.get("ratio")
    if condition == "peak":
        return row.get("of_peak")
    if condition == "mb_ratio":
        both = row.get("mb") and row.get("peer_mb")
        return row["mb"] / row["peer_mb"] if both else None
    return row.get("ours" if condition == "ms" else condition)


def holds(condition, value, limit):
    """True, False, or None where there is no value."""
    if value is None:
        return None
    return value <= limit if condition in AT_MOST else value >= limit


def all_hold(verdicts):
    """One verdict of several: a failed one decides, then a missing one."""
    verdicts = list(verdicts)
    if False in verdicts:
        return False
    return None if None in verdicts or not verdicts else True


def judge_row(row, conditions):
    """What a row by itself has to hold (all but means)."""
    return all_hold(holds(c, value_of(row, c), limit) for c, limit in conditions.items()
                    if c != "mean")


def judge_group(rows, conditions):
    """The verdict of all rows of a group together."""
    verdicts = [judge_row(r, conditions) for r in rows if set(conditions) - {"mean"}]
    if "mean" in conditions:
        verdicts.append(holds("mean", group_mean(rows), conditions["mean"]))
    return all_hold(verdicts)


def group_mean(rows):
    """Geometric mean of the ratios; None unless every row has one."""
    ratios = [r.get("ratio") for r in rows]
    return geometric_mean(ratios) if ratios and None not in ratios else None


def mark_word(must, goal):
    """goal: the goal is met as well; met: the least is; below; ?: not measured."""
    if must is False:
        return "below"
    if must is None:
        return "?"
    return "goal" if goal else "met"


# ---- cells ---------------------------------------------------------------------------------------

def time_text(ms):
    if ms is None:
        return "-"
    for unit, scale in (("s", 1e-3), ("ms", 1), ("us", 1e3)):
        if ms * scale >= 1:
            return f"{ms * scale:.3g} {unit}" if ms * scale < 1000 else f"{ms * scale:.0f} {unit}"
    return f"{ms * 1e6:.3g} ns"


def amount_text(row, side):
    """Time or memory of a side."""
    if "mb" in row:
        mb = row.get("mb" if side == "ours" else "peer_mb")
        return "-" if mb is None else f"{mb:.0f} MB"
    return time_text(row.get(side))


def ratio_text(row):
    if "mb" in row:
        value = value_of(row, "mb_ratio")
        return "-" if value is None else f"{value:.2f}x mem"
    return "-" if row.get("ratio") is None else f"{row['ratio']:.2f}"


def limit_text(condition, limit):
    sign = "<=" if condition in AT_MOST else ">="
    number = f"{limit:g}"
    if condition == "ms":
        number = time_text(limit)
    elif condition == "mb":
        number += " MB"
    elif condition == "peak":
        number = f"{100 * limit:g} %"
    return f"{WORDS[condition]}{sign} {number}"


def limits_text(conditions, of_group):
    """The conditions on a row, or those on its group."""
    return ", ".join(limit_text(c, v) for c, v in conditions.items() if (c == "mean") == of_group)


def check_text(row):
    """The largest difference from the peer, if anything was compared."""
    if row.get("error"):
        return "failed"
    found = row.get("differences")
    if not found:
        return "-"
    return ("" if row["agrees"] else "DIFFERS ") + f"{max(found.values()):.0e}"


def rate_text(row, with_share):
    """GFLOP/s; with the share of the peak at its clock where that has a limit."""
    if not row.get("work") or not row.get("ours"):
        return ""
    share = f", {100 * row['of_peak']:.0f} %" if with_share and row.get("of_peak") else ""
    return f"{row['work'] / row['ours'] * 1e-6:.1f}{share}"


def floor_text(row):
    return time_text(row["floor"]) if row.get("floor") else ""


def distance_text(row):
    return f"{row['ours'] / row['floor']:.2f}x" if row.get("floor") and row.get("ours") else ""


def ways_text(row):
    """The fastest configurations: ours (where there is a choice), the peer's."""
    return " / ".join(way for way in (row.get("our_config"), row.get("config")) if way)


HEADER = ("row", "ours", "peer", "peer/ours", "must", "goal", "mark", "check", "GFLOP/s", "floor",
          "ours/floor", "fastest ways")


def row_cells(row, group):
    must, goal = group.get("must", {}), group.get("goal", {})
    own = set(must) - {"mean"}
    mark = mark_word(judge_row(row, must), judge_row(row, goal) if set(goal) - {"mean"}
                     else False) if own else ""
    return (row["row"], amount_text(row, "ours"), amount_text(row, "peer"), ratio_text(row),
            limits_text(must, False), limits_text(goal, False), mark, check_text(row),
            rate_text(row, "peak" in must), floor_text(row), distance_text(row), ways_text(row))


def group_cells(group, rows):
    """The line under a group that has to hold something together."""
    must, goal = group.get("must", {}), group.get("goal", {})
    if "mean" not in must and "mean" not in goal:
        return None
    mean = group_mean(rows)
    mark = mark_word(judge_group(rows, must), judge_group(rows, goal))
    return ("= " + group["title"], "", "", "-" if mean is None else f"{mean:.2f}",
            limits_text(must, True), limits_text(goal, True), mark, "", "", "", "", "")


# ---- the whole -----------------------------------------------------------------------------------

def lines_of(run, marks):
    """[(title, [cells])] of every group."""
    tables = []
    for group, rows in group_rows(run["rows"], marks):
        cells = [row_cells(r, group) for r in rows]
        last = group_cells(group, rows)
        tables.append((group["title"], cells + ([last] if last else [])))
    return tables


def verdicts(run, marks):
    """[(title of a group with marks, goal, met, below or ?)]"""
    return [(group["title"], mark_word(judge_group(rows, group["must"]),
                                       judge_group(rows, group.get("goal", {}))))
            for group, rows in group_rows(run["rows"], marks) if group.get("must")]


def all_met(run, marks):
    """Every measured group has what it must, and both sides agree."""
    agree = all(r.get("agrees", True) and not r.get("error") for r in run["rows"])
    return agree and all(word in ("goal", "met") for _, word in verdicts(run, marks))


def with_verdicts(run, marks):
    """The run as it is printed in JSON: with the limits and the verdict of each group."""
    groups = []
    for group, rows in group_rows(run["rows"], marks):
        must, goal = group.get("must", {}), group.get("goal", {})
        word = mark_word(judge_group(rows, must), judge_group(rows, goal)) if must else ""
        groups.append({"title": group["title"], "must": must, "goal": goal, "mark": word,
                       "mean": group_mean(rows), "rows": [r["row"] for r in rows]})
    return run | {"groups": groups}


def summary(run, marks):
    """How many groups reach what, and what went wrong."""
    words = {"goal": [], "met": [], "below": [], "?": []}
    for title, word in verdicts(run, marks):
        words[word].append(title)
    text = [f"{len(words['goal'])} groups at their goal, {len(words['met'])} at their must, "
            f"{len(words['below'])} below, {len(words['?'])} not fully measured"]
    text += [f"below: {title}" for title in words["below"]]
    for r in run["rows"]:
        if r.get("error"):
            text.append(f"failed: {r['row']}: {r['error']}")
        elif r.get("differences") and not r["agrees"]:
            found = ", ".join(f"{k} {v:.1e}" for k, v in r["differences"].items())
            text.append(f"the two sides differ: {r['row']}: {found}")
    return text


def machine_text(machine):
    """The line about the machine and the two sides."""
    text = (f"{machine.get('cpu', '')}; {machine['threads']} threads; akin on {machine['isa']}; "
            f"peak {machine['gflops']:.0f} GFLOP/s; a += s b " + ", ".join(
                f"{gbs:.0f} GB/s at {mb} MB" for mb, gbs in machine["bandwidth"].items()))
    if machine.get("torch"):
        text += f"; PyTorch {machine['torch']}"
    if machine.get("pillow"):
        text += f", Pillow {machine['pillow']}"
    if machine.get("librosa"):
        text += f", librosa {machine['librosa']}"
    text += f"; {machine['date']}, load {machine['load']:.1f} before the start"
    text += "; best runs" if machine["best"] else "; medians"
    return text + (", before all other programs" if machine.get("priority") else "")


def as_text(run, marks):
    tables = lines_of(run, marks)
    everything = [HEADER] + [cells for _, table in tables for cells in table]
    widths = [max(len(cells[i]) for cells in everything) for i in range(len(HEADER))]

    def line(cells):
        parts = [c.ljust(w) if i in (0, 11) else c.rjust(w)
                 for i, (c, w) in enumerate(zip(cells, widths))]
        return "  ".join(parts).rstrip()
    out = [machine_text(run["machine"]), "", line(HEADER)]
    for title, table in tables:
        out += ["", f"-- {title}"] + [line(cells) for cells in table]
    return "\n".join(out + [""] + summary(run, marks))


def as_markdown(run, marks):
    def line(cells):
        return "| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |"
    columns = len(HEADER) - 1       # the last one is for the terminal
    out = [machine_text(run["machine"]) + ".", ""]
    for title, table in lines_of(run, marks):
        out += [f"### {title[0].upper()}{title[1:]}", "", line(HEADER[:columns]),
                "|" + "---|" * columns]
        out += [line(cells[:columns]) for cells in table] + [""]
    return "\n".join(out + ["- " + text for text in summary(run, marks)])
