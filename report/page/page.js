"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const MiB = 1048576;
  const colours = ["#4c78a8", "#f58518", "#b279a2", "#54a24b", "#9d755d", "#72b7b2", "#e45756"];

  const bytes = (n) => {
    if (n < 1024) return n + " B";
    const units = ["KiB", "MiB", "GiB", "TiB"];
    let at = -1;
    do {
      n /= 1024;
      ++at;
    } while (n >= 1024 && at + 1 < units.length);
    return n.toFixed(1) + " " + units[at];
  };
  const seconds = (s) => (s < 1e-3 ? (s * 1e6).toFixed(0) + " µs" : s < 1 ? (s * 1e3).toFixed(2) + " ms" : s.toFixed(3) + " s");
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const element = (name, text, className) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  };

  // Charts take the width that they are given, and the colours of the page, whenever these change.
  const charts = [];
  const chart = (host, make) => {
    const entry = { host, make, plot: null };
    charts.push(entry);
    const draw = () => {
      if (entry.plot) entry.plot.destroy();
      entry.plot = make(host, Math.max(280, host.clientWidth), Math.max(300, Math.min(460, host.clientWidth * 0.5)));
    };
    draw();
    let width = host.clientWidth;
    new ResizeObserver(() => {
      if (host.clientWidth === width) return;
      width = host.clientWidth;
      entry.plot.setSize({ width: Math.max(280, width), height: Math.max(300, Math.min(460, width * 0.5)) });
    }).observe(host);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
    return entry;
  };
  // Ticks of byte axes stand at round MiB, KiB and GiB.
  const sizes = [];
  for (let size = 256; size < 2 ** 50; size *= 2) sizes.push(size);
  const axis = (label, values, incrs) => ({
    label,
    ...(incrs && { incrs }),
    stroke: style("--text"),
    grid: { stroke: style("--grid"), width: 1 },
    ticks: { stroke: style("--line"), width: 1 },
    values,
    size: 64,
  });

  // A table whose columns sort; cells are {text, key} or plain text.
  const table = (host, columns, rows) => {
    const head = element("thead");
    const body = element("tbody");
    const headRow = element("tr");
    let sorted = -1;
    let up = true;
    let filter = "";
    const key = (cell) => (typeof cell === "object" ? cell.key : cell);
    const text = (cell) => (typeof cell === "object" ? cell.text : cell);
    const fill = () => {
      let shown = rows;
      if (filter) shown = shown.filter((row) => row.cells.some((cell) => String(text(cell)).toLowerCase().includes(filter)));
      if (sorted >= 0) {
        const sign = up ? 1 : -1;
        shown = [...shown].sort((a, b) => {
          const x = key(a.cells[sorted]);
          const y = key(b.cells[sorted]);
          return sign * (typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y)));
        });
      }
      const part = document.createDocumentFragment();
      // More rows than anybody reads would make the page slow; the search finds the rest.
      const most = 2000;
      for (const row of shown.slice(0, most)) {
        const line = element("tr", undefined, row.className);
        row.cells.forEach((cell, i) => line.append(element("td", text(cell), columns[i].number ? "number" : "")));
        part.append(line);
      }
      if (shown.length > most) {
        const line = element("tr");
        const cell = element("td", shown.length - most + " more; search or sort to see them");
        cell.colSpan = columns.length;
        line.append(cell);
        part.append(line);
      }
      body.replaceChildren(part);
    };
    columns.forEach((column, i) => {
      const cell = element("th", undefined, column.number ? "number" : "");
      const button = element("button", column.name);
      button.type = "button";
      button.addEventListener("click", () => {
        up = sorted === i ? !up : !column.number;
        sorted = i;
        headRow.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
        cell.setAttribute("aria-sort", up ? "ascending" : "descending");
        fill();
      });
      cell.append(button);
      headRow.append(cell);
    });
    head.append(headRow);
    host.append(head, body);
    fill();
    return {
      search(words) {
        filter = words.toLowerCase();
        fill();
      },
    };
  };

  const showSweep = (sweep) => {
    byId("sweep").hidden = false;
    const plain = sweep.points.find((point) => point.budget === null);
    const measured = sweep.points.filter((point) => point.budget !== null && point.seconds > 0);
    measured.sort((a, b) => a.budget - b.budget);
    // The run without a budget stands at its peak.
    const ours = plain && plain.seconds > 0 ? [...measured, { ...plain, budget: sweep.peak_bytes, unlimited: true }] : measured;
    const peers = sweep.peers || [];
    const xs = [...new Set([...ours.map((point) => point.budget), ...peers.map((peer) => peer.peak_bytes)])].sort((a, b) => a - b);
    const at = (points, x, field) => {
      const found = points.find((point) => point[x.field] === x.value);
      return found ? found[field] : null;
    };
    const line = (field) => xs.map((value) => at(ours, { field: "budget", value }, field));
    const series = [
      { label: "budget, MiB", value: (u, v) => (v === null || v === undefined ? "" : (v / MiB).toFixed(1)) },
      { label: "Tidemark, s/step", stroke: colours[0], width: 2, points: { show: true, size: 7 }, spanGaps: true },
      { label: "predicted", stroke: colours[1], width: 1.5, dash: [6, 4], points: { show: false }, spanGaps: true },
      { label: "bound", stroke: colours[3], width: 1.5, dash: [2, 3], points: { show: false }, spanGaps: true },
    ];
    const values = [xs, line("seconds"), line("predicted"), line("bound")];
    peers.forEach((peer, i) => {
      series.push({ label: peer.name, stroke: colours[(4 + i) % colours.length], paths: () => null, points: { show: true, size: 9, fill: colours[(4 + i) % colours.length] } });
      values.push(xs.map((value) => (value === peer.peak_bytes ? peer.seconds : null)));
    });
    for (const one of series.slice(1)) one.value = (u, v) => (v === null || v === undefined ? "" : v.toPrecision(4));
    chart(byId("sweep-chart"), (host, width, height) =>
      new uPlot(
        {
          width,
          height,
          series,
          scales: { x: { time: false }, y: { range: (u, low, high) => [0, high * 1.1] } },
          axes: [
            axis("bytes of everything, MiB", (u, ticks) => ticks.map((tick) => +(tick / MiB).toPrecision(4)), sizes),
            axis("seconds a step", (u, ticks) => ticks.map((tick) => +tick.toPrecision(4))),
          ],
        },
        values,
        host,
      ),
    );
    const base = plain ? plain.seconds : 0;
    const extra = (s) => ({ text: base > 0 && s > 0 ? (100 * (s / base - 1)).toFixed(1) : "-", key: s });
    const rows = sweep.points.map((point) => {
      const run = point.runs[0] || {};
      const size = (n) => ({ text: n === undefined ? "-" : (n / MiB).toFixed(1), key: n || 0 });
      return {
        className: point.runs.length > 0 && !point.equal ? "bad" : "",
        cells: [
          { text: point.budget === null ? "none" : (point.budget / MiB).toFixed(1), key: point.budget === null ? Infinity : point.budget },
          size(run.peak_bytes),
          size(run.rss_peak_bytes),
          { text: point.seconds > 0 ? point.seconds.toPrecision(4) : "-", key: point.seconds },
          { text: (100 * point.spread).toFixed(1), key: point.spread },
          extra(point.seconds),
          extra(point.predicted),
          extra(point.bound),
          { text: run.recomputed_ops === undefined ? "-" : String(run.recomputed_ops), key: run.recomputed_ops || 0 },
          size(run.moved_bytes),
          { text: run.plan_seconds === undefined ? "-" : run.plan_seconds.toFixed(2), key: run.plan_seconds || 0 },
          point.refused ? "refused" : point.runs.length === 0 ? "not measured" : point.equal ? "yes" : "NO",
        ],
      };
    });
    const number = (name) => ({ name, number: true });
    table(
      byId("sweep-table"),
      [number("budget MiB"), number("peak MiB"), number("RSS MiB"), number("s/step"), number("spread %"), number("extra %"), number("predicted %"), number("bound %"), number("recomputed"), number("moved MiB"), number("planning s"), { name: "bits equal" }],
      rows,
    );
  };

  const showTimeline = (timeline) => {
    byId("timeline").hidden = false;
    const { labels, holders, categories, tracks } = timeline;
    // changes: [microseconds since the one before, holder, 1 or 0, reserved bytes less those before].
    const count = timeline.changes.length / 4;
    const times = new Float64Array(count);
    const holder = new Int32Array(count);
    const live = new Uint8Array(count);
    const reserved = new Float64Array(count);
    const stacks = categories.map(() => new Float64Array(count));
    const now = categories.map(() => 0);
    let time = 0;
    let end = 0;
    for (let i = 0; i < count; ++i) {
      time += timeline.changes[4 * i];
      times[i] = time / 1e6;
      holder[i] = timeline.changes[4 * i + 1];
      live[i] = timeline.changes[4 * i + 2];
      end += timeline.changes[4 * i + 3];
      reserved[i] = end;
      const [, size, category] = holders[holder[i]];
      now[category] += live[i] ? size : -size;
      let sum = 0;
      for (let c = 0; c < categories.length; ++c) {
        sum += now[c];
        stacks[c][i] = sum;
      }
    }
    const stepped = uPlot.paths.stepped({ align: 1 });
    const series = [{ label: "time", value: (u, v) => (v === null || v === undefined ? "" : seconds(v)) }];
    const values = [times];
    const bands = [];
    // The topmost first, so that each is filled down to the one below.
    for (let c = categories.length - 1; c >= 0; --c) {
      const below = c === 0 ? null : stacks[c - 1];
      values.push(stacks[c]);
      series.push({
        label: categories[c],
        stroke: colours[c],
        fill: colours[c] + "cc",
        width: 1,
        paths: stepped,
        points: { show: false },
        value: (u, v, s, i) => (i === null || i === undefined ? "" : bytes(stacks[c][i] - (below ? below[i] : 0))),
      });
      if (c > 0) bands.push({ series: [series.length - 1, series.length] });
    }
    values.push(reserved);
    series.push({ label: "reserved", stroke: style("--text"), width: 1, paths: stepped, points: { show: false }, value: (u, v) => (v === null || v === undefined ? "" : bytes(v)) });
    const again = tracks.indexOf("recompute");
    // spans: [track, label, microseconds of begin, of length].
    const spans = timeline.spans;
    const shade = (u) => {
      const { ctx } = u;
      ctx.save();
      ctx.beginPath();
      ctx.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
      ctx.clip();
      ctx.fillStyle = style("--warn") + "44";
      for (let i = 0; i < spans.length; i += 4) {
        if (spans[i] !== again) continue;
        const left = u.valToPos(spans[i + 2] / 1e6, "x", true);
        const right = u.valToPos((spans[i + 2] + spans[i + 3]) / 1e6, "x", true);
        ctx.fillRect(left, u.bbox.top, Math.max(1, right - left), u.bbox.height);
      }
      if (timeline.budget !== null) {
        const y = u.valToPos(timeline.budget, "y", true);
        ctx.strokeStyle = style("--warn");
        ctx.setLineDash([8, 5]);
        ctx.lineWidth = 1.5 * devicePixelRatio;
        ctx.beginPath();
        ctx.moveTo(u.bbox.left, y);
        ctx.lineTo(u.bbox.left + u.bbox.width, y);
        ctx.stroke();
      }
      ctx.restore();
    };
    const begins = [];
    for (let i = 0; i < spans.length; i += 4) begins.push([spans[i + 2], spans[i + 2] + spans[i + 3], i]);
    begins.sort((a, b) => a[0] - b[0]);
    // What ran at a moment, in seconds: spans of one thread do not overlap, but that planning happens inside of steps.
    const running = (at) => {
      let low = 0;
      let high = begins.length;
      while (low < high) {
        const middle = (low + high) >> 1;
        if (begins[middle][0] <= at * 1e6) low = middle + 1;
        else high = middle;
      }
      for (let i = low - 1; i >= 0 && i >= low - 3; --i) if (begins[i][1] >= at * 1e6 - 1) return begins[i][2];
      return low > 0 ? begins[low - 1][2] : -1;
    };
    const name = (label) => labels[label][0] + (labels[label][1] ? " at " + labels[label][1] : "");
    const moment = byId("moment");
    const show = (i) => {
      const alive = new Uint8Array(holders.length);
      for (let k = 0; k <= i; ++k) alive[holder[k]] = live[k];
      const held = [];
      for (let h = 0; h < holders.length; ++h) if (alive[h]) held.push(h);
      held.sort((a, b) => holders[b][1] - holders[a][1]);
      const total = stacks[categories.length - 1][i];
      const span = running(times[i]);
      const parts = [element("h3", seconds(times[i]) + ": " + bytes(total) + (span < 0 ? "" : ", " + tracks[spans[span]] + " of " + name(spans[span + 1])))];
      const list = element("table");
      for (const h of held.slice(0, 8)) {
        const row = element("tr");
        row.append(element("td", bytes(holders[h][1]), "number"), element("td", categories[holders[h][2]]), element("td", name(holders[h][0]) + (holders[h][3] ? " " + holders[h][3] : "")));
        list.append(row);
      }
      parts.push(list);
      moment.replaceChildren(...parts);
    };
    let asked = -1;
    let due = false;
    const hovered = (u) => {
      if (u.cursor.idx === null || u.cursor.idx === undefined) return;
      asked = u.cursor.idx;
      if (due) return;
      due = true;
      requestAnimationFrame(() => {
        due = false;
        show(asked);
      });
    };
    let highest = 0;
    for (let i = 1; i < count; ++i) if (stacks[categories.length - 1][i] > stacks[categories.length - 1][highest]) highest = i;
    if (count > 0) show(highest);
    chart(byId("timeline-chart"), (host, width, height) =>
      new uPlot(
        {
          width,
          height,
          series,
          bands,
          scales: {
            x: { time: false },
            y: { range: (u, low, high) => [0, 1.05 * Math.max(high, timeline.budget || 0)] },
          },
          axes: [axis("", (u, ticks) => ticks.map(seconds)), axis("bytes, MiB", (u, ticks) => ticks.map((tick) => +(tick / MiB).toPrecision(4)), sizes)],
          hooks: { draw: [shade], setCursor: [hovered] },
        },
        values,
        host,
      ),
    );
  };

  const showValues = (explanation) => {
    byId("values").hidden = false;
    const percent = (part) => (100 * part).toFixed(1) + " %";
    let words = "The step computed again " + percent(explanation.cost) + " of its work; the peak of " + bytes(explanation.peak_bytes) + " was at " + explanation.peak_op + ".";
    for (const offer of explanation.with_more) words += " With " + bytes(offer.budget) + " it would be " + percent(offer.cost) + ".";
    byId("values-summary").textContent = words;
    const rows = explanation.values.map((value) => ({
      cells: [
        value.op,
        value.where,
        value.shape,
        { text: bytes(value.bytes), key: value.bytes },
        { text: seconds(value.seconds), key: value.seconds },
        value.fate,
        { text: String(value.runs), key: value.runs },
        value.live_at_peak ? "yes" : "",
        (value.discarded_after ? "discarded after " + value.discarded_after + ", computed again for " + value.recomputed_for + "; " : "") + value.why,
      ],
    }));
    const number = (name) => ({ name, number: true });
    const shown = table(byId("values-table"), [{ name: "op" }, { name: "line" }, { name: "shape" }, number("bytes"), number("cost"), { name: "fate" }, number("runs"), { name: "at the peak" }, { name: "why" }], rows);
    byId("values-search").addEventListener("input", (event) => shown.search(event.target.value));
  };

  byId("facts").textContent = data.facts;
  for (const [key, value] of data.machine) byId("machine").append(element("dt", key), element("dd", value));
  if (data.sweep) showSweep(data.sweep);
  if (data.timeline) showTimeline(data.timeline);
  if (data.explanation) showValues(data.explanation);
  document.documentElement.dataset.ready = "yes";
})();
