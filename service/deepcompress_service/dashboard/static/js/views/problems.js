/** The problems of a run: search, filters, sorting, pages, and the history of each problem. */

import { h, s, announce, segments, visible } from "../dom.js";
import { LineChart } from "../charts/line.js";
import { address, filter, setFilter } from "../address.js";
import { count, fixed, percent, signed } from "../format.js";
import { getJson, KeyNeeded } from "../net.js";

/** Lengths that 10, 50 and 90 % of the correct rollouts do not exceed. */
const quantiles = (of) => (of ? [of.p10, of.p50, of.p90].map((n) => count(Math.round(n))).join(" / ") + " tokens" : "–");
/** Problems on one page; on a phone each is a block of its own. */
const PAGE = matchMedia("(max-width: 640px)").matches ? 8 : 20;
const TYPING_MS = 250;
const COLUMNS = [
  ["Problem", "problem_id"],
  ["Difficulty", null],
  ["Pass ratio", "pass_ratio"],
  ["Last β", null],
  ["Correct / attempts", null],
  ["Shortest correct", null],
  ["Mean correct", null],
  ["Turns", null],
  ["Last step", null],
];

export class Problems {
  constructor(run, onKey) {
    this.run = run;
    this.onKey = onKey;
    this.query = {
      search: address().query.get("search") ?? "",
      difficulty: filter("difficulty", ["simple", "hard"], "all"),
      sort: filter("sort", ["pass_ratio", "-pass_ratio"], "problem_id"),
    };
    this.cursors = [null];
    this.next = null;
    this.open = null;
    this.chart = null;
    /** The row of details and its data. It is replaced only if the data have changed, so that the scroll position stays. */
    this.details = null;
    this.requests = 0;
    /** Duration of the last load in milliseconds. Slow loads are repeated less often. */
    this.loadMs = 0;
    this.rows = [];
    this.search = h("input", { class: "field", type: "search", placeholder: "Search problems", "aria-label": "Search problems", maxlength: "200", value: this.query.search, on: { input: () => this.typed() } });
    this.body = h("tbody");
    this.heads = COLUMNS.map(([label, sort], i) =>
      h("th", { scope: "col", class: i < 2 ? "left" : null }, sort ? h("button", { type: "button", on: { click: () => this.sortBy(sort) } }, label) : label),
    );
    this.table = h("table", null, h("caption", { class: "visually-hidden" }, "Problems of this run"), h("thead", null, h("tr", null, this.heads)), this.body);
    this.status = h("span", { role: "status" });
    this.back = h("button", { type: "button", class: "button", on: { click: () => this.turn(-1) } }, "Previous");
    this.forth = h("button", { type: "button", class: "button", on: { click: () => this.turn(1) } }, "Next");
    this.root = h(
      "section",
      { class: "panel wide problems", "aria-label": "Problems" },
      h(
        "div",
        { class: "panel-head" },
        h("h2", null, "Problems"),
        segments("Show", [["all", "All"], ["simple", "Simple"], ["hard", "Hard"]], this.query.difficulty, (value) => this.change({ difficulty: value })),
        this.search,
      ),
      h("div", { class: "table-box" }, this.table),
      h("div", { class: "pager" }, this.status, this.back, this.forth),
    );
    this.markSort();
  }

  close() {
    this.chart?.close();
  }

  typed() {
    clearTimeout(this.typing);
    this.typing = setTimeout(() => this.change({ search: this.search.value.trim() }), TYPING_MS);
  }

  sortBy(column) {
    const { sort } = this.query;
    this.change({ sort: column === "problem_id" ? column : sort === "pass_ratio" ? "-pass_ratio" : "pass_ratio" });
  }

  markSort() {
    this.heads.forEach((head, i) => {
      const column = COLUMNS[i][1];
      if (!column) return;
      const { sort } = this.query;
      head.setAttribute("aria-sort", sort === column ? "ascending" : sort === `-${column}` ? "descending" : "none");
    });
  }

  change(part) {
    Object.assign(this.query, part);
    setFilter("search", this.query.search);
    setFilter("difficulty", this.query.difficulty, "all");
    setFilter("sort", this.query.sort, "problem_id");
    this.cursors = [null];
    this.markSort();
    this.load(true);
  }

  turn(by) {
    if (by > 0) {
      if (this.next === null) return;
      this.cursors.push(this.next);
    } else if (this.cursors.length > 1) this.cursors.pop();
    this.open = null;
    this.load(true);
  }

  /** Empty the list, and ignore pending responses. */
  clear() {
    this.requests++;
    this.cursors = [null];
    this.next = this.open = null;
    this.rows = [];
    this.draw();
  }

  /** Load the current page. `announced`: tell screen readers, for a change that the user made. */
  async load(announced = false) {
    const request = ++this.requests;
    const began = performance.now();
    const query = new URLSearchParams({ limit: PAGE, sort: this.query.sort });
    if (this.query.search) query.set("search", this.query.search);
    if (this.query.difficulty !== "all") query.set("difficulty", this.query.difficulty);
    if (this.cursors.at(-1) !== null) query.set("cursor", this.cursors.at(-1));
    try {
      const page = await getJson(`v1/runs/${encodeURIComponent(this.run)}/problems?${query}`);
      if (request !== this.requests) return;
      this.rows = page.problems;
      this.next = page.next;
      this.loadMs = performance.now() - began;
      this.draw();
      if (announced) announce(`${this.rows.length} problems on this page`);
    } catch (error) {
      if (request !== this.requests) return;
      if (error instanceof KeyNeeded) return this.onKey();
      this.status.textContent = "The problems cannot be loaded.";
    }
  }

  draw() {
    const focused = this.body.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    const rows = [];
    for (const problem of this.rows) {
      rows.push(this.row(problem));
      if (problem.problem_id === this.open) rows.push(this.detail(problem));
    }
    this.body.replaceChildren(...rows);
    if (focused) [...this.body.querySelectorAll("[data-key]")].find((one) => one.dataset.key === focused)?.focus({ preventScroll: true });
    const page = this.cursors.length;
    this.status.textContent = this.rows.length ? `Page ${page}` : this.query.search || this.query.difficulty !== "all" ? "No matching problems." : "No problems yet.";
    this.back.disabled = page === 1;
    this.forth.disabled = this.next === null;
  }

  row(problem) {
    const id = visible(problem.problem_id);
    const opener = h(
      "button",
      { type: "button", class: "opener", title: id, "data-key": problem.problem_id, "aria-expanded": String(problem.problem_id === this.open), on: { click: () => this.toggle(problem.problem_id) } },
      h("span", null, id),
    );
    const side = problem.difficulty;
    const bar = s("svg", { width: 64, height: 6, "aria-hidden": "true" });
    const share = problem.pass_ratio ?? 0;
    bar.append(s("rect", { class: "bar-back", width: 64, height: 6, rx: 3 }), s("rect", { class: `bar-fill ${side ?? ""}`, width: 64 * share, height: 6, rx: 3 }));
    const cell = (label, value, kind) => h("td", { "data-label": label, class: kind }, value);
    return h(
      "tr",
      null,
      h("td", { class: "problem-id" }, opener),
      cell("", side ? h("span", { class: `chip ${side}` }, side) : "–", "left"),
      h("td", { "data-label": "pass ratio" }, bar, h("span", { class: "share" }, percent(problem.pass_ratio))),
      cell("last β", signed(problem.last_beta)),
      cell("correct / attempts", `${count(problem.passes)} / ${count(problem.attempts)}`),
      cell("shortest correct", count(problem.shortest_correct_tokens), "more-facts"),
      cell("mean correct", count(problem.mean_correct_tokens), "more-facts"),
      cell("turns", count(problem.turns), "more-facts"),
      cell("last step", count(problem.last_step), "more-facts"),
    );
  }

  toggle(problemId) {
    this.open = this.open === problemId ? null : problemId;
    this.details = null;
    this.draw();
  }

  detail(problem) {
    const data = JSON.stringify(problem);
    if (this.details?.data !== data) this.details = { data, row: this.detailRow(problem) };
    return this.details.row;
  }

  detailRow(problem) {
    const facts = [
      ["smoothed pass ratio", fixed(problem.pass_ratio)],
      ["pass ratio in the last step", fixed(problem.last_pass_ratio)],
      ["β in the last step", signed(problem.last_beta)],
      ["correct rollouts", `${count(problem.passes)} of ${count(problem.attempts)}`],
      ["turns between simple and hard", `${count(problem.turns)} ${problem.turns === 1 ? "time" : "times"}`],
      ["shortest correct response", problem.shortest_correct_tokens === null ? "–" : `${count(problem.shortest_correct_tokens)} tokens`],
      ["mean correct response", problem.mean_correct_tokens === null ? "–" : `${count(problem.mean_correct_tokens)} tokens`],
      ["correct lengths, 10 / 50 / 90 %", quantiles(problem.length_quantiles)],
      ["last step", count(problem.last_step)],
    ];
    const list = h("dl", null, facts.map(([name, value]) => [h("dt", null, name), h("dd", null, value)]));
    const container = h("div");
    this.history(problem.problem_id, container);
    return h("tr", { class: "detail" }, h("td", { colspan: COLUMNS.length }, h("div", { class: "story" }, container, list)));
  }

  /** Draw the problem's history over the kept steps. */
  async history(problemId, container) {
    try {
      const query = new URLSearchParams({ problem: problemId });
      const { steps } = await getJson(`dashboard/runs/${encodeURIComponent(this.run)}/problem?${query}`);
      this.chart?.close();
      this.chart = new LineChart({
        title: "Pass ratio by step",
        hint: "Kept steps only; older ones are included in the totals.",
        height: 170,
        series: [
          { key: "ratio", label: "pass ratio", colour: "ratio", dashed: true, value: (row) => row.last_pass_ratio },
          { key: "smoothed", label: "smoothed", colour: "level", value: (row) => row.pass_ratio },
        ],
        format: (value) => fixed(value),
        domain: () => [0, 1],
        more: (row) => [["β", signed(row.last_beta)], ["rollouts so far", count(row.attempts)]],
        nothing: "The problem is in no kept step.",
      });
      container.replaceChildren(this.chart.root);
      this.chart.update(steps.map((row) => ({ ...row, step: row.last_step, closed: true })));
    } catch (error) {
      if (error instanceof KeyNeeded) return this.onKey();
      this.details = null; // load it again with the next list
      container.replaceChildren(h("p", { class: "hint" }, "The history cannot be loaded."));
    }
  }
}
