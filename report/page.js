// Draws the data of the page. Texts become text nodes and attributes only, never HTML.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const main = document.getElementById("main");
  const COLOURS = 8, SHAPES = ["circle", "square", "triangle", "diamond", "cross", "plus", "down",
    "ring", "bowtie", "bar", "pillar"];
  const DASHES = ["", "7 4", "2 3", "9 3 2 3", "5 2", "1 4", "12 4", "4 4 1 4"];

  // ---- elements -------------------------------------------------------------------------------

  const fill = (e, attributes, children) => {
    for (const [name, value] of Object.entries(attributes || {}))
      if (value !== null && value !== undefined) e.setAttribute(name, value);
    for (const child of children.flat(Infinity)) if (child !== null && child !== undefined) e.append(child);
    return e;
  };
  const el = (name, attributes, ...children) =>
    fill(document.createElement(name), attributes, children);
  const svg = (name, attributes, ...children) =>
    fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
  const colour = (i) => `var(--c${i % COLOURS})`;
  const number = (x) => {
    if (typeof x !== "number" || !isFinite(x)) return x === null || x === undefined ? "–" : String(x);
    if (Number.isInteger(x) && Math.abs(x) < 1e6) return String(x);
    const size = Math.abs(x);
    return size >= 1e5 || size < 1e-3 ? x.toExponential(2) : String(Number(x.toPrecision(4)));
  };
  const range = (lo, hi) => isNumber(lo) && isNumber(hi) ? `[${number(lo)}, ${number(hi)}]` : "–";
  const isNumber = (x) => typeof x === "number" && isFinite(x);
  const section = (id, title, hint) => {
    const s = el("section", { "aria-labelledby": id }, el("h2", { id }, title),
      hint ? el("p", { class: "hint" }, hint) : null);
    main.append(s);
    document.getElementById("nav").append(el("a", { href: "#" + id }, title));
    return s;
  };
  const table = (caption, head, rows) => el("div", { class: "scroll" }, el("table", {},
    el("caption", {}, caption),
    el("thead", {}, el("tr", {}, head.map((h) => el("th", { scope: "col" }, h)))),
    el("tbody", {}, rows.map((row) => el("tr", {}, row.map((cell, i) => i === 0
      ? el("th", { scope: "row" }, cell)
      : el("td", cell instanceof Node ? { class: "bar" } : {}, cell)))))));

  const path = (shape, r) => ({
    circle: `M${-r} 0a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0`,
    ring: `M${-r} 0a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0` +
      `M${-r / 2} 0a${r / 2} ${r / 2} 0 1 1 ${r} 0a${r / 2} ${r / 2} 0 1 1 ${-r} 0`,
    square: `M${-r * 0.9} ${-r * 0.9}h${r * 1.8}v${r * 1.8}h${-r * 1.8}z`,
    triangle: `M0 ${-r * 1.15}L${r * 1.1} ${r * 0.85}H${-r * 1.1}z`,
    down: `M0 ${r * 1.15}L${r * 1.1} ${-r * 0.85}H${-r * 1.1}z`,
    diamond: `M0 ${-r * 1.25}L${r * 1.25} 0L0 ${r * 1.25}L${-r * 1.25} 0z`,
    bar: `M${-r * 1.3} ${-r * 0.4}h${r * 2.6}v${r * 0.8}h${-r * 2.6}z`,
    pillar: `M${-r * 0.4} ${-r * 1.3}h${r * 0.8}v${r * 2.6}h${-r * 0.8}z`,
    bowtie: `M${-r} ${-r}L${r} ${r}V${-r}L${-r} ${r}z`,
    plus: `M${-r * 0.35} ${-r * 1.1}h${r * 0.7}v${r * 0.75}h${r * 0.75}v${r * 0.7}h${-r * 0.75}` +
      `v${r * 0.75}h${-r * 0.7}v${-r * 0.75}h${-r * 0.75}v${-r * 0.7}h${r * 0.75}z`,
    cross: `M0 ${-r * 0.45}L${r * 0.6} ${-r}L${r} ${-r * 0.6}L${r * 0.45} 0L${r} ${r * 0.6}` +
      `L${r * 0.6} ${r}L0 ${r * 0.45}L${-r * 0.6} ${r}L${-r} ${r * 0.6}L${-r * 0.45} 0` +
      `L${-r} ${-r * 0.6}L${-r * 0.6} ${-r}z`,
  })[shape];
  const shapeOf = (i) => SHAPES[i % SHAPES.length];
  const symbol = (i) => svg("svg", { viewBox: "-8 -8 16 16", width: 14, height: 14,
    "aria-hidden": "true", style: "width:14px" },
    svg("path", { d: path(shapeOf(i), 5.5), fill: colour(i), "fill-rule": "evenodd" }));

  const ticks = (lo, hi, most) => {
    const raw = (hi - lo) / most || 1, power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw);
    const out = [];
    for (let i = Math.ceil(lo / step - 1e-9); i * step <= hi + step * 1e-9; i++)
      out.push(Number((i * step).toPrecision(12)));
    return out;
  };

  // ---- head -----------------------------------------------------------------------------------

  const akin = (data.settings || {}).akin || {};
  document.getElementById("about").textContent = [data.made, akin.time,
    akin.seed !== undefined ? `seed ${akin.seed}` : null, akin.cpu,
    akin.threads ? `${akin.threads} threads` : null].filter(Boolean).join(" · ");
  if (data.notes.length)
    main.append(el("aside", { class: "note", role: "note", "aria-label": "Notes" },
      el("ul", {}, data.notes.map((n) => el("li", {}, n)))));

  // ---- study ----------------------------------------------------------------------------------

  const study = data.study || [];
  // Of lines that say the same of the same thing, as a study that went on writes them, the last.
  const of = (event) => [...new Map(study.filter((line) => line.event === event).map((line) =>
    [JSON.stringify([line.name, line.arm, line.seed, line.measure]), line])).values()];

  // An interval on an axis that several share: bar, mean, single values as strokes.
  const bar = (axis, lo, hi, mean, singles, kind, label) => {
    const W = 320, H = 30, at = (x) => 6 + (W - 12) * (x - axis.lo) / (axis.hi - axis.lo || 1);
    const has = isNumber(lo) && isNumber(hi);
    return svg("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": label },
      svg("line", { x1: 0, x2: W, y1: 15, y2: 15, class: "axis" }),
      axis.lo <= 0 && axis.hi >= 0 && axis.zero
        ? svg("line", { x1: at(0), x2: at(0), y1: 1, y2: H - 1, class: "zero" }) : null,
      has ? svg("rect", { x: at(lo), y: 9, width: Math.max(at(hi) - at(lo), 1.5), height: 12, rx: 2,
        fill: colour(kind), "fill-opacity": 0.28, stroke: colour(kind) }) : null,
      singles.filter(isNumber).map((x) => svg("line", { x1: at(x), x2: at(x), y1: 4, y2: 26,
        stroke: "currentColor", "stroke-opacity": 0.5 })),
      isNumber(mean) ? svg("path", { d: path(shapeOf(kind), 5), fill: colour(kind),
        "fill-rule": "evenodd", transform: `translate(${at(mean)} 15)` }) : null);
  };
  const axisOf = (values, zero) => {
    const some = values.filter(isNumber).concat(zero ? [0] : []);
    const lo = Math.min(...some), hi = Math.max(...some), more = (hi - lo) * 0.05 || 0.5;
    return { lo: lo - more, hi: hi + more, zero };
  };
  // The 97.5 % point of Student's t with n degrees of freedom.
  const T = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228];
  const student = (n) => n <= T.length ? T[n - 1]
    : 1.95996 + 2.3723 / n + 2.8225 / n ** 2 + 2.5558 / n ** 3;
  const meanAndInterval = (values) => {
    const n = values.length, mean = values.reduce((a, b) => a + b, 0) / n;
    const spread = Math.sqrt(values.reduce((a, b) => a + (b - mean) ** 2, 0) / (n - 1));
    const half = n > 1 ? student(n - 1) * spread / Math.sqrt(n) : NaN;
    return { mean, lo: mean - half, hi: mean + half };
  };

  const claims = () => {
    const s = section("claims", "Claims", "Each is an inequality on an interval, stated before.");
    s.append(el("div", { class: "cards" }, of("claim").map((c) => {
      const yes = c.shown === true, axis = axisOf([c.estimate, c.lo, c.hi], true);
      const say = `estimate ${number(c.estimate)}, interval ${range(c.lo, c.hi)}`;
      return el("article", { class: "card" },
        el("h3", {}, String(c.name)),
        el("p", { class: "verdict " + (yes ? "shown" : "not") }, yes ? "✓ shown" : "✗ not shown"),
        el("p", {}, c.text === undefined ? "" : String(c.text)),
        bar(axis, c.lo, c.hi, c.estimate, [], yes ? 2 : 1, say),
        el("p", { class: "hint" }, say + (isNumber(c.p) ? `, p = ${number(c.p)}` : "")));
    })));
  };

  const arms = () => {
    const head = of("study")[0] || {}, results = of("result"), summaries = of("summary");
    const named = [...new Set(results.concat(summaries).map((r) => String(r.measure)))];
    const told = Array.isArray(head.measures) ? head.measures : [];
    const list = [...new Set((Array.isArray(head.arms) ? head.arms : []).map((a) =>
      String(a && a.name !== undefined ? a.name : a))
      .concat(results.concat(summaries).map((r) => String(r.arm))))];
    const s = section("arms", "Arms", "Filled bars are intervals, thin strokes single seeds, the " +
      "symbol is the mean. All bars of a table share one axis.");
    for (const measure of named) {
      const info = told.find((m) => m && m.name === measure) || {};
      const unit = info.unit ? ` (${info.unit})` : "";
      const better = info.higher_is_better === undefined ? ""
        : info.higher_is_better ? ", higher is better" : ", lower is better";
      const values = (arm) => results.filter((r) => String(r.arm) === arm &&
        String(r.measure) === measure && isNumber(r.value));
      const row = (arm) => {
        const mine = values(arm);
        const sum = summaries.filter((r) => String(r.arm) === arm &&
          String(r.measure) === measure).pop();
        if (sum) return { ...sum, singles: mine.map((r) => r.value), n: sum.seeds };
        if (mine.length === 1) return { mean: mine[0].value, lo: mine[0].lo, hi: mine[0].hi,
          singles: [], n: 1 };
        return mine.length ? { ...meanAndInterval(mine.map((r) => r.value)), n: mine.length,
          singles: mine.map((r) => r.value) } : { singles: [], n: 0 };
      };
      const rows = list.map((arm) => [arm, row(arm)]).filter(([, r]) => r.n);
      const axis = axisOf(rows.flatMap(([, r]) => [r.mean, r.lo, r.hi, ...r.singles]), false);
      s.append(el("div", { class: "card", style: "margin-top:1rem" }, table(measure + unit + better,
        ["arm", "mean", "95 % interval", "seeds", `${number(axis.lo)} to ${number(axis.hi)}`],
        rows.map(([arm, r]) => [arm + (arm === head.baseline ? " (baseline)" : ""), number(r.mean),
          range(r.lo, r.hi), number(r.n), bar(axis, r.lo, r.hi, r.mean, r.singles,
            list.indexOf(arm), `${arm}: ${number(r.mean)}, interval ${range(r.lo, r.hi)}`)]))));
      const base = new Map(values(String(head.baseline)).map((r) => [String(r.seed), r.value]));
      const pairs = list.filter((arm) => arm !== head.baseline).map((arm) => [arm,
        values(arm).filter((r) => base.has(String(r.seed)))
          .map((r) => r.value - base.get(String(r.seed)))]).filter(([, d]) => d.length);
      if (!pairs.length) continue;
      const made = pairs.map(([arm, d]) => [arm, d, meanAndInterval(d)]);
      const shared = axisOf(made.flatMap(([, d, m]) => [m.lo, m.hi, ...d]), true);
      s.lastChild.append(table(`${measure}: difference to ${head.baseline}, pairs of equal seeds`,
        ["arm", "difference", "95 % interval (t)", "pairs",
          `${number(shared.lo)} to ${number(shared.hi)}`],
        made.map(([arm, d, m]) => [arm, number(m.mean), range(m.lo, m.hi), String(d.length),
          bar(shared, m.lo, m.hi, m.mean, d, list.indexOf(arm),
            `${arm}: difference ${number(m.mean)}, interval ${range(m.lo, m.hi)}`)])));
    }
  };

  // ---- curves ---------------------------------------------------------------------------------

  const OWN = new Set(["event", "detail", "hash", "seconds", "epoch", "step"]);
  const chart = (title, lines, xName) => {
    const W = 340, H = 200, L = 46, R = 10, top = 8, bottom = 28;
    const points = lines.flatMap((l) => l.points);
    const xs = points.map((p) => p[0]), ys = points.map((p) => p[1]);
    const x0 = Math.min(...xs), x1 = Math.max(...xs), y0 = Math.min(...ys), y1 = Math.max(...ys);
    const more = (y1 - y0) * 0.06 || Math.abs(y1) * 0.05 || 0.5;
    const X = (x) => L + (W - L - R) * (x - x0) / (x1 - x0 || 1);
    const Y = (y) => H - bottom - (H - top - bottom) * (y - y0 + more) / (y1 - y0 + 2 * more);
    const last = lines.map((l) => l.points[l.points.length - 1]);
    const drawn = svg("svg", { viewBox: `0 0 ${W} ${H}`, role: "img",
      "aria-label": `${title} by ${xName}: ` + lines.slice(0, 6).map((l, i) => `${l.name || "run"} ` +
        `from ${number(l.points[0][1])} to ${number(last[i][1])}`).join("; ") },
      ticks(y0 - more, y1 + more, 5).map((t) => [
        svg("line", { x1: L, x2: W - R, y1: Y(t), y2: Y(t), class: "axis" }),
        svg("text", { x: L - 6, y: Y(t) + 4, "text-anchor": "end" }, number(t))]),
      ticks(x0, x1, 6).map((t) => svg("text", { x: X(t), y: H - 12, "text-anchor": "middle" },
        number(t))),
      svg("text", { x: W - R, y: H, "text-anchor": "end" }, xName),
      lines.map((l) => [
        svg("path", { d: l.points.map((p, i) => `${i && !p[2] ? "L" : "M"}${X(p[0]).toFixed(1)} ` +
          Y(p[1]).toFixed(1)).join(""), fill: "none", stroke: colour(l.index), "stroke-width": 2,
        "stroke-dasharray": DASHES[l.index % DASHES.length], "stroke-linejoin": "round" }),
        (l.points.length <= 30 ? l.points : l.points.slice(-1)).map((p) => svg("path", {
          d: path(shapeOf(l.index), 3.4), fill: colour(l.index), "fill-rule": "evenodd",
          transform: `translate(${X(p[0]).toFixed(1)} ${Y(p[1]).toFixed(1)})` },
        svg("title", {}, `${l.name ? l.name + ", " : ""}${xName} ${number(p[0])}: ` +
          number(p[1])))),
      ]));
    const gaps = lines.reduce((n, l) => n + l.gaps, 0);
    return el("figure", { class: "card" }, el("h3", {}, title), drawn,
      gaps ? el("p", { class: "hint" }, `${gaps} values are no finite number and leave gaps.`) : null,
      el("details", {}, el("summary", {}, "Numbers"), table(`${title} by ${xName}`,
        ["run", xName, title], lines.flatMap((l) => l.points.slice(-200).map((p) =>
          [l.name || data.title, number(p[0]), number(p[1])])))));
  };

  const curves = () => {
    const runs = data.runs || [], kinds = new Map(), single = [];
    runs.forEach((run, index) => {
      const events = Map.groupBy ? Map.groupBy(run.lines, (l) => String(l.event))
        : run.lines.reduce((m, l) => m.set(String(l.event),
          (m.get(String(l.event)) || []).concat([l])), new Map());
      for (const [event, lines] of events) {
        const xName = ["epoch", "step"].find((x) => lines.length > 1 &&
          lines.every((l) => isNumber(l[x]))) || "line";
        for (const key of new Set(lines.flatMap((l) => Object.keys(l)))) {
          if (OWN.has(key)) continue;
          let gap = false, gaps = 0;
          const points = [];
          lines.forEach((l, i) => {
            if (isNumber(l[key])) {
              points.push([xName === "line" ? i + 1 : l[xName], l[key], gap]);
              gap = false;
            } else if (key in l && typeof l[key] !== "boolean") {
              gap = true;
              gaps++;
            }
          });
          if (!points.length) {
            single.push([run.name || data.title, event, key, lines.map((l) => l[key]).pop(), ""]);
          } else if (lines.length === 1) {
            single.push([run.name || data.title, event, key, points[0][1], lines[0].detail]);
          } else {
            const id = `${event} · ${key}`;
            if (!kinds.has(id)) kinds.set(id, { title: key, event, xName, lines: [] });
            kinds.get(id).lines.push({ name: run.name, index, points, gaps });
          }
        }
      }
    });
    if (kinds.size) {
      const s = section("curves", "Curves");
      if (runs.length > 1)
        s.append(el("ul", { class: "legend" }, runs.slice(0, 40).map((run, i) => el("li", {},
          svg("svg", { viewBox: "0 0 26 14", "aria-hidden": "true" },
            svg("line", { x1: 0, x2: 26, y1: 7, y2: 7, stroke: colour(i), "stroke-width": 2,
              "stroke-dasharray": DASHES[i % DASHES.length] }),
            svg("path", { d: path(shapeOf(i), 4), fill: colour(i), "fill-rule": "evenodd",
              transform: "translate(13 7)" })), run.name || data.title))));
      const events = new Set([...kinds.values()].map((k) => k.event));
      s.append(el("div", { class: "cards" }, [...kinds.values()].slice(0, 60).map((k) =>
        chart(events.size > 1 ? `${k.title} (${k.event})` : k.title, k.lines, k.xName))));
      if (kinds.size > 60)
        s.append(el("p", { class: "hint" }, `60 of ${kinds.size} curves are drawn.`));
    }
    if (single.length) {
      const s = section("numbers", "Numbers measured once");
      s.append(table("", ["run", "event", "name", "value", "how"],
        single.slice(0, 500).map((r) => [r[0], r[1], r[2], number(r[3]), r[4] || ""])));
      if (single.length > 500)
        s.append(el("p", { class: "hint" }, `500 of ${single.length} are listed.`));
    }
  };

  // ---- embedding ------------------------------------------------------------------------------

  const embedding = (m) => {
    const className = (c) => c < 0 ? "unknown" : (m.classes || [])[c] || `class ${c}`;
    const nameOf = (i) => m.label ? className(m.label[i]) : `row ${m.row[i]}`;
    const say = (i) => nameOf(i) + (m.caption && m.caption[i] ? `: ${m.caption[i]}` : "");
    const pictures = m.pictures ? Object.assign(new Image(), { src: m.pictures.url }) : null;
    const loaded = pictures ? pictures.decode() : Promise.resolve();
    const pictureOf = (i, size) => {
      if (!pictures) return null;
      const p = m.pictures, scale = Math.max(1, Math.round(size / p.height));
      const c = el("canvas", { class: "picture", role: "img", "aria-label": say(i),
        width: p.width * scale, height: p.height * scale });
      const g = c.getContext("2d");
      g.imageSmoothingEnabled = false;
      loaded.then(() => g.drawImage(pictures, i % p.columns * p.width,
        Math.floor(i / p.columns) * p.height, p.width, p.height, 0, 0, c.width, c.height));
      return c;
    };
    const neighbours = (i) => m.near.slice(i * m.k, (i + 1) * m.k);
    const same = (i) => neighbours(i).filter((j) => m.label[j] === m.label[i]).length;
    const query = (i) => {
      const figure = (j, kind, below) => el("figure", { class: kind + (pictures ? "" : " text"),
        title: say(j) }, pictures ? pictureOf(j, 46) : el("span", {}, say(j)),
      el("figcaption", {}, below));
      return el("div", { class: "query", role: "group", "aria-label": `Neighbours of ${say(i)}` },
        figure(i, "", nameOf(i)), neighbours(i).map((j, n) => {
          const hit = m.label && m.label[i] === m.label[j];
          return figure(j, m.label ? hit ? "same" : "other" : "",
            m.label ? hit ? "✓ same" : `✗ ${nameOf(j)}` : (m.cosine[i * m.k + n] / 1000).toFixed(2));
        }));
    };
    const about = `${m.n} of ${m.total} rows of ${m.d} numbers` + (m.what ? `: ${m.what}` : "") +
      ". Rows have length one; near means a large cosine.";

    if (m.pca) drawMap(m, { about, className, nameOf, say, pictureOf, query });
    const s = section("near", "Nearest neighbours",
      `The ${m.k} nearest of each row, among the ${m.n} rows shown, nearest first.`);
    if (!m.label) {
      s.append(el("div", { class: "rows" }, [...Array(Math.min(16, m.n)).keys()].map((i) =>
        query(Math.floor(i * m.n / Math.min(16, m.n))))));
      return;
    }
    const known = m.label.map((c, i) => i).filter((i) => m.label[i] >= 0);
    const classes = [...new Set(known.map((i) => m.label[i]))].sort((a, b) => a - b);
    // One row of each class in turn, from a list that is ordered; each class at most twice.
    const pick = (order) => {
      const seen = new Map();
      return order.filter((i) => {
        const n = (seen.get(m.label[i]) || 0) + 1;
        seen.set(m.label[i], n);
        return n <= Math.max(1, Math.floor(8 / classes.length));
      }).slice(0, 10);
    };
    const sure = (i) => neighbours(i).reduce((a, j, n) => a + m.cosine[i * m.k + n], 0);
    const good = pick(known.filter((i) => same(i) === m.k).sort((a, b) => sure(b) - sure(a)));
    const bad = pick(known.filter((i) => same(i) < m.k).sort((a, b) => same(a) - same(b) ||
      sure(b) - sure(a)));
    const share = (list) => list.reduce((a, i) => a + same(i), 0) / (m.k * list.length || 1);
    s.append(el("p", {}, `${(100 * share(known)).toFixed(1)} % of all neighbours are of the row's ` +
      "own class."));
    const group = (title, hint, rows) => s.append(el("h3", { style: "margin-top:1.2rem" }, title),
      el("p", { class: "hint" }, hint), el("div", { class: "rows" }, rows.map(query)));
    group("Good", "All neighbours are of the row's class; those that are nearest.", good);
    group("Bad", "Fewest neighbours of the row's class; the surest of these first.", bad);
    const axis = { lo: 0, hi: 100, zero: false };
    s.append(el("details", {}, el("summary", {}, "By class"), table("Neighbours of the own class",
      ["class", "share", "rows", "0 to 100 %"], classes.map((c) => {
        const list = known.filter((i) => m.label[i] === c), x = 100 * share(list);
        return [className(c), `${x.toFixed(1)} %`, String(list.length),
          bar(axis, 0, x, x, [], c, `${className(c)}: ${x.toFixed(1)} %`)];
      }))));
  };

  const drawMap = (m, use) => {
    const s = section("map", "Map of the embedding", use.about);
    const canvas = el("canvas", { class: "plane", tabindex: 0, role: "application",
      "aria-label": `Map of ${m.n} rows. Arrow keys go to the nearest row in that direction.` });
    const side = el("div", { "aria-live": "polite" });
    const hint = el("p", { class: "hint" });
    const g = canvas.getContext("2d");
    const classes = m.label ? [...new Set(m.label)].sort((a, b) => a - b) : [];
    let kind = "tsne", only = null, at = -1;

    const place = (i) => {
      const y = m[kind], size = 0.96 * Math.min(canvas.width, canvas.height) / 2;
      const stretch = canvas.width / canvas.height * 0.9, flat = Math.max(1, stretch);
      return [canvas.width / 2 + y[2 * i] / 5000 * size * flat, canvas.height / 2 -
        y[2 * i + 1] / 5000 * size];
    };
    const draw = () => {
      const ratio = window.devicePixelRatio || 1, box = canvas.getBoundingClientRect();
      canvas.width = Math.max(1, Math.round(box.width * ratio));
      canvas.height = Math.max(1, Math.round(box.height * ratio));
      const style = getComputedStyle(document.documentElement);
      const colours = [...Array(COLOURS).keys()].map((i) => style.getPropertyValue(`--c${i}`));
      const r = (m.n > 1200 ? 3.1 : m.n > 300 ? 4 : 5) * ratio;
      const paths = SHAPES.map((shape) => new Path2D(path(shape, r)));
      const mark = (i, solid) => {
        const c = m.label ? m.label[i] : 0, [x, y] = place(i);
        g.globalAlpha = solid ? 0.85 : 0.1;
        g.fillStyle = c < 0 ? style.getPropertyValue("--soft") : colours[c % COLOURS];
        g.setTransform(1, 0, 0, 1, x, y);
        g.fill(paths[c < 0 ? 0 : c % SHAPES.length], "evenodd");
      };
      const lit = (i) => only === null || m.label[i] === only;
      for (let i = 0; i < m.n; i++) if (!lit(i)) mark(i, false);
      for (let i = 0; i < m.n; i++) if (lit(i)) mark(i, true);
      g.setTransform(1, 0, 0, 1, 0, 0);
      g.globalAlpha = 1;
      if (at < 0) return;
      g.strokeStyle = style.getPropertyValue("--ink");
      g.lineWidth = ratio;
      for (const j of m.near.slice(at * m.k, (at + 1) * m.k)) {
        g.beginPath();
        g.moveTo(...place(at));
        g.lineTo(...place(j));
        g.stroke();
      }
      g.lineWidth = 2.5 * ratio;
      g.beginPath();
      g.arc(...place(at), 9 * ratio, 0, 7);
      g.stroke();
    };
    const show = (i) => {
      if (i === at) return;
      at = i;
      draw();
      if (i < 0) return;
      side.replaceChildren(el("div", { class: "point" }, use.pictureOf(i, 112)),
        el("h3", { style: "margin-top:.6rem" }, use.nameOf(i)),
        m.caption && m.caption[i] ? el("p", {}, m.caption[i]) : "",
        el("p", { class: "hint" }, `row ${m.row[i]}; lines lead to its ${m.k} nearest`),
        use.query(i));
    };
    const nearestTo = (x, y, allowed) => {
      let best = -1, distance = Infinity;
      for (let i = 0; i < m.n; i++) {
        const [u, v] = place(i), d = allowed(i, u, v);
        if (d !== false && (u - x) ** 2 + (v - y) ** 2 + d < distance) {
          distance = (u - x) ** 2 + (v - y) ** 2 + d;
          best = i;
        }
      }
      return best;
    };
    canvas.addEventListener("pointermove", (e) => {
      const box = canvas.getBoundingClientRect(), ratio = canvas.width / box.width;
      show(nearestTo((e.clientX - box.left) * ratio, (e.clientY - box.top) * ratio,
        (i) => only === null || m.label[i] === only ? 0 : false));
    });
    canvas.addEventListener("keydown", (e) => {
      const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[
        e.key];
      if (!way) return;
      e.preventDefault();
      const [x, y] = at < 0 ? [canvas.width / 2, canvas.height / 2] : place(at);
      const next = nearestTo(x, y, (i, u, v) => {
        const along = (u - x) * way[0] + (v - y) * way[1];
        const aside = Math.abs((u - x) * way[1]) + Math.abs((v - y) * way[0]);
        return i !== at && along > 0 && aside <= along ? 3 * aside * aside : false;
      });
      if (next >= 0) show(next);
    });

    const say = () => {
      hint.textContent = kind === "pca"
        ? `The two directions of most variance: ${(100 * m.share[0]).toFixed(1)} % and ` +
          `${(100 * m.share[1]).toFixed(1)} % of it.`
        : `t-SNE, perplexity ${number(m.perplexity)}, KL divergence ${number(m.divergence)}. Who ` +
          "is near means something; distances between groups and their sizes do not.";
    };
    const choice = (name, value) => {
      const b = el("button", { type: "button", "aria-pressed": String(kind === value) }, name);
      b.addEventListener("click", () => {
        kind = value;
        for (const other of b.parentNode.children)
          other.setAttribute("aria-pressed", String(other === b));
        say();
        draw();
      });
      return b;
    };
    s.append(el("div", { class: "legend", role: "group", "aria-label": "Projection" },
      choice("t-SNE", "tsne"), choice("PCA", "pca")));
    if (classes.length > 1 && classes.length <= 60) {
      const list = el("div", { class: "legend", role: "group", "aria-label": "Show one class" });
      for (const c of classes) {
        const b = el("button", { type: "button", "aria-pressed": "false" }, c < 0 ? null : symbol(c),
          use.className(c));
        b.addEventListener("click", () => {
          only = only === c ? null : c;
          for (const other of list.children)
            other.setAttribute("aria-pressed", String(other === b && only === c));
          draw();
        });
        list.append(b);
      }
      s.append(list);
    }
    side.append(el("p", { class: "hint" }, "Point at a row, or press arrow keys on the map: its " +
      "picture and its neighbours stand here."));
    s.append(el("div", { class: "map" }, el("figure", { class: "card" }, canvas,
      el("figcaption", {}, hint)), el("div", { class: "card" }, side)));
    say();
    new ResizeObserver(draw).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  };

  // ---- settings -------------------------------------------------------------------------------

  const settings = (values) => {
    const rows = [], walk = (object, before) => {
      for (const [name, value] of Object.entries(object))
        if (value && typeof value === "object") walk(value, before + name + ".");
        else rows.push([before + name, String(value)]);
    };
    walk(values, "");
    section("settings", "Settings").append(table("settings.json", ["name", "value"], rows));
  };

  if (of("claim").length) claims();
  if (of("result").length || of("summary").length) arms();
  curves();
  if (data.map) embedding(data.map);
  if (data.settings) settings(data.settings);
  document.documentElement.dataset.done = "yes";
})();
