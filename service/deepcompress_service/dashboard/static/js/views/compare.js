/** Several runs in the same charts, and a table of their last common steps. */

import { h, visible } from "../dom.js";
import { LineChart } from "../charts/line.js";
import { compareLink, runLink } from "../address.js";
import { shareCrosshair } from "../crosshair.js";
import { download } from "../csv.js";
import { count, fixed, percent, signed } from "../format.js";
import { follow } from "../net.js";
import { rangeControl } from "../range.js";
import { smoothingControl } from "../smoothing.js";
import { CSV_HEAD, csvRows, METRICS, Steps } from "../steps.js";

const DRAWN = ["tokens", "pass_ratio", "level", "reward", "length", "length_share", "truncated", "no_answer", "undecided", "unchecked", "hard", "all_correct"];
const HINTS = {
  tokens: "Mean tokens of all rollouts. Its trend does not depend on which problems are simple or hard.",
  pass_ratio: "Mean pass ratio of the step's groups.",
  length_share: "Share of the advantages' variance. Below 2% nothing becomes shorter.",
};
const TABLE_STEPS = 10;
const cell = (label, value) => h("td", { "data-label": label }, value);
/** Charts that are left out also where every value is 0. */
const SPARSE = ["truncated", "no_answer", "undecided", "unchecked", "length", "length_share"];

export function compareView(names, hooks) {
  const runs = new Map(names.map((run) => [run, { steps: new Steps(), state: "waiting" }]));
  const sub = h("p", { class: "sub", role: "status" }, "Connecting…");
  const smoothing = smoothingControl((weight) => charts.forEach((chart) => chart.setSmoothing(weight)));
  const range = rangeControl(() => draw());
  const save = h("button", { type: "button", class: "button", on: { click: saveAll } }, "Download CSV");
  const charts = DRAWN.map((key) => {
    const metric = METRICS[key];
    const title = metric.title ?? metric.label[0].toUpperCase() + metric.label.slice(1);
    const series = names.map((run, i) => ({
      key: run,
      label: visible(run),
      colour: `run-${i % 8}`,
      dashed: i % 2 === 1,
      value: (row) => (row.of[run] === undefined ? undefined : metric.value(row.of[run])),
    }));
    const chart = new LineChart({ ...metric, title, hint: HINTS[key] ?? "", file: "compare", series, zoom: range.zoom });
    chart.smooth = smoothing.value;
    return chart;
  });
  shareCrosshair(charts);
  const left = h("p", { class: "wide sub left-out" });
  const tableBody = h("tbody");
  const tableHint = h("p", { class: "hint" });
  const table = h(
    "section",
    { class: "panel wide compare-table", "aria-label": "Runs" },
    h("div", { class: "panel-head" }, h("h2", null, "Last common steps"), tableHint),
    h(
      "div",
      { class: "table-box" },
      h(
        "table",
        null,
        h("caption", { class: "visually-hidden" }, "Means of the last common steps"),
        h("thead", null, h("tr", null, ["Run", "Steps", "Mean tokens", "Against first", "Batch pass ratio", "Against first", "Truncated", "Level", ""].map((name, i) => h("th", { scope: "col", class: i ? null : "left" }, name)))),
        tableBody,
      ),
    ),
  );
  const root = h(
    "div",
    null,
    h("div", { class: "head" }, h("h1", null, "Compare runs"), sub),
    h("div", { class: "controls sticky" }, range.root, smoothing.root, save, h("a", { class: "button", href: `#/?${names.map((run) => `select=${encodeURIComponent(run)}`).join("&")}` }, "Choose runs")),
    h("div", { class: "grid" }, table, charts.map((chart) => chart.root), left),
  );

  /** Rows by step, each with the rows of the runs that have the step. */
  function merged() {
    const rows = new Map();
    for (const [run, { steps }] of runs) {
      for (const row of steps.rows()) {
        const all = rows.get(row.step) ?? { step: row.step, closed: true, of: {} };
        all.of[run] = row;
        all.closed &&= row.closed;
        rows.set(row.step, all);
      }
    }
    return [...rows.values()].sort((a, b) => a.step - b.step);
  }

  function draw() {
    const all = merged();
    const shown = range.of(all);
    const empty = [];
    charts.forEach((chart, i) => {
      const { value } = METRICS[DRAWN[i]];
      chart.update(shown);
      chart.root.hidden = SPARSE.includes(DRAWN[i]) ? !shown.some((row) => Object.values(row.of).some((one) => value(one))) : !chart.known(shown);
      if (chart.root.hidden) empty.push(chart.spec.title.toLowerCase());
    });
    left.textContent = empty.length && shown.length ? `Zero or not known in these steps: ${empty.join(", ")}.` : "";
    drawTable(all);
  }

  function drawTable(all) {
    const common = all.filter((row) => names.every((run) => runs.get(run).state === "gone" || row.of[run])).slice(-TABLE_STEPS);
    tableHint.textContent = common.length
      ? `Means over ${common.length === 1 ? "step" : "steps"} ${count(common[0].step)}${common.length === 1 ? "" : ` to ${count(common.at(-1).step)}`}: the last that every run has. Changes are against the first run.`
      : "These runs have no step in common.";
    const mean = (run, key) => {
      const values = common.map((row) => row.of[run] && METRICS[key].value(row.of[run])).filter((value) => value !== null && value !== undefined);
      return values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null;
    };
    const [tokens, ratio] = [mean(names[0], "tokens"), mean(names[0], "pass_ratio")];
    tableBody.replaceChildren(
      ...names.map((run, i) => {
        const mine = { tokens: mean(run, "tokens"), ratio: mean(run, "pass_ratio") };
        const change = i === 0 || mine.tokens === null || !tokens ? "–" : `${signed((100 * mine.tokens) / tokens - 100, 1)}%`;
        const points = i === 0 || mine.ratio === null || ratio === null ? "–" : `${signed(100 * (mine.ratio - ratio), 1)} points`;
        const others = names.filter((other) => other !== run);
        const remove = others.length ? h("a", { class: "quiet", href: others.length > 1 ? compareLink(others) : runLink(others[0]), "aria-label": `Remove ${visible(run)}` }, "Remove") : "";
        return h(
          "tr",
          null,
          h("th", { scope: "row", class: "left run-name" }, h("span", { class: `swatch c-run-${i % 8}`, "aria-hidden": "true" }), h("a", { href: runLink(run) }, visible(run)), runs.get(run).state === "gone" ? " (no state)" : ""),
          cell("steps", count(runs.get(run).steps.stored.size)),
          cell("mean tokens", count(mine.tokens)),
          cell("tokens against first", change),
          cell("batch pass ratio", percent(mine.ratio, 1)),
          cell("pass ratio against first", points),
          cell("truncated", percent(mean(run, "truncated"), 1)),
          cell("level", fixed(mean(run, "level"))),
          h("td", null, remove),
        );
      }),
    );
  }

  function saveAll() {
    download("compare", ["run", ...CSV_HEAD], names.flatMap((run) => csvRows(runs.get(run).steps.rows()).map((row) => [run, ...row])));
  }

  const stream = follow(`dashboard/compare/events?${names.map((run) => `run=${encodeURIComponent(run)}`).join("&")}`, {
    begin() {},
    state(state, detail) {
      if (state === "refused") sub.textContent = detail;
      hooks.state(state);
    },
    event(name, data) {
      if (name === "health") {
        hooks.health(data);
        sub.textContent = `${count(names.length)} runs, live.`;
        draw_();
      } else if (name === "of") {
        const run = runs.get(data.run);
        if (data.name === "trouble") return hooks.state("trouble");
        hooks.state("live");
        if (data.name === "gone") {
          run.steps.clear();
          run.state = "gone";
        } else if (data.name === "steps") {
          run.steps.store(data.data);
          run.state = "known";
        } else if (data.name === "course") run.steps.sums(data.data);
        changed = true;
      }
    },
  });
  /** Draw once after the events of a second, not after each. */
  let changed = false;
  function draw_() {
    if (changed) draw();
    changed = false;
  }

  return {
    root,
    close() {
      stream.close();
      charts.forEach((chart) => chart.close());
    },
  };
}
