/** The run's problems: search, filter, sort, page, and each with its history. */

import { h, s, say, segments, visible } from "../dom.js";
import { LineChart } from "../charts/line.js";
import { count, fixed, percent, signed } from "../format.js";
import { getJson, KeyNeeded } from "../net.js";

const PAGE = 20;
const TYPING_MS = 250;
const COLUMNS = [
  ["Problem", "problem_id"],
  ["Now", null],
  ["Pass ratio", "pass_ratio"],
  ["Last β", null],
  ["Right of tries", null],
  ["Shortest right", null],
  ["Mean right", null],
  ["Turns", null],
  ["Last step", null],
];

export class Problems {
  constructor(run, onKey) {
    this.run = run;
    this.onKey = onKey;
    this.query = { search: "", difficulty: "all", sort: "problem_id" };
    this.cursors = [null];
    this.next = null;
    this.open = null;
    this.chart = null;
    /** The open row's detail and what it shows: drawn anew only when that changed, so that a reader keeps the place. */
    this.story = null;
    this.asked = 0;
    /** Milliseconds that the last answer took: who refreshes by itself does it the more rarely. */
    this.took = 0;
    this.rows = [];
    this.search = h("input", { class: "field", type: "search", placeholder: "Search problems", "aria-label": "Search problems", maxlength: "200", on: { input: () => this.typed() } });
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
        segments("Show", [["all", "All"], ["simple", "Simple"], ["hard", "Hard"]], "all", (value) => this.change({ difficulty: value })),
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

  /** Of a run that is gone: nothing listed, and no answer on its way is shown any more. */
  clear() {
    this.asked++;
    this.cursors = [null];
    this.next = this.open = null;
    this.rows = [];
    this.draw();
  }

  /** Ask for the page again. `aloud` where the reader asked for it. */
  async load(aloud = false) {
    const asked = ++this.asked;
    const began = performance.now();
    const query = new URLSearchParams({ limit: PAGE, sort: this.query.sort });
    if (this.query.search) query.set("search", this.query.search);
    if (this.query.difficulty !== "all") query.set("difficulty", this.query.difficulty);
    if (this.cursors.at(-1) !== null) query.set("cursor", this.cursors.at(-1));
    try {
      const page = await getJson(`v1/runs/${encodeURIComponent(this.run)}/problems?${query}`);
      if (asked !== this.asked) return;
      this.rows = page.problems;
      this.next = page.next;
      this.took = performance.now() - began;
      this.draw();
      if (aloud) say(`${this.rows.length} problems on this page`);
    } catch (error) {
      if (asked !== this.asked) return;
      if (error instanceof KeyNeeded) return this.onKey();
      this.status.textContent = "The problems cannot be shown now.";
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
    this.status.textContent = this.rows.length ? `Page ${page}` : this.query.search || this.query.difficulty !== "all" ? "No problem fits." : "No problems yet.";
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
      cell("right of tries", `${count(problem.passes)} / ${count(problem.attempts)}`),
      cell("shortest right", count(problem.shortest_correct_tokens), "more-facts"),
      cell("mean right", count(problem.mean_correct_tokens), "more-facts"),
      cell("turns", count(problem.turns), "more-facts"),
      cell("last step", count(problem.last_step), "more-facts"),
    );
  }

  toggle(problemId) {
    this.open = this.open === problemId ? null : problemId;
    this.story = null;
    this.draw();
  }

  detail(problem) {
    const shows = JSON.stringify(problem);
    if (this.story?.shows !== shows) this.story = { shows, row: this.tell(problem) };
    return this.story.row;
  }

  tell(problem) {
    const facts = [
      ["smoothed pass ratio", fixed(problem.pass_ratio)],
      ["pass ratio last time", fixed(problem.last_pass_ratio)],
      ["β last time", signed(problem.last_beta)],
      ["rollouts right", `${count(problem.passes)} of ${count(problem.attempts)}`],
      ["turned between simple and hard", `${count(problem.turns)} ${problem.turns === 1 ? "time" : "times"}`],
      ["shortest right answer", problem.shortest_correct_tokens === null ? "–" : `${count(problem.shortest_correct_tokens)} tokens`],
      ["mean right answer", problem.mean_correct_tokens === null ? "–" : `${count(problem.mean_correct_tokens)} tokens`],
      ["last step", count(problem.last_step)],
    ];
    const list = h("dl", null, facts.map(([name, value]) => [h("dt", null, name), h("dd", null, value)]));
    const place = h("div");
    this.history(problem.problem_id, place);
    return h("tr", { class: "detail" }, h("td", { colspan: COLUMNS.length }, h("div", { class: "story" }, place, list)));
  }

  /** The problem's course over the steps that the store still remembers. */
  async history(problemId, place) {
    try {
      const query = new URLSearchParams({ problem: problemId });
      const { steps } = await getJson(`dashboard/runs/${encodeURIComponent(this.run)}/problem?${query}`);
      this.chart?.close();
      this.chart = new LineChart({
        title: "Its pass ratio by step",
        hint: "Over the steps that are kept for replays; older ones are in the totals.",
        height: 170,
        series: [
          { key: "ratio", label: "pass ratio", colour: "ratio", dashed: true, value: (row) => row.last_pass_ratio },
          { key: "smoothed", label: "smoothed", colour: "level", value: (row) => row.pass_ratio },
        ],
        format: (value) => fixed(value),
        domain: () => [0, 1],
        more: (row) => [["β", signed(row.last_beta)], ["rollouts so far", count(row.attempts)]],
        nothing: "No kept step touched it.",
      });
      place.replaceChildren(this.chart.root);
      this.chart.update(steps.map((row) => ({ ...row, step: row.last_step, closed: true })));
    } catch (error) {
      if (error instanceof KeyNeeded) return this.onKey();
      this.story = null; // asked for again with the next list
      place.replaceChildren(h("p", { class: "hint" }, "Its course cannot be shown now."));
    }
  }
}
