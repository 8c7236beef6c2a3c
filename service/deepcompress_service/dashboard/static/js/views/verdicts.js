/** The latest verdicts: the extracted answer, the gold answer, and the reason of each. */

import { h, segments, visible } from "../dom.js";
import { clock, count, fixed } from "../format.js";
import { typeset } from "../tex/typeset.js";

const SHOWN = matchMedia("(max-width: 640px)").matches ? 6 : 12;
const SHOWN_MORE = 40;
const MAX_VERDICTS = 400;
const WORDS = {
  correct: ["✓ correct", "correct"],
  wrong: ["✗ wrong", "wrong"],
  no_answer: ["∅ no answer", "wrong"],
  unreadable: ["? unreadable", "odd"],
  gold_unreadable: ["! gold unreadable", "odd"],
  undecided: ["… undecided", "odd"],
  unchecked: ["… unchecked", "odd"],
};
const FILTERS = [
  ["all", "All"],
  ["correct", "Correct"],
  ["wrong", "Wrong"],
  ["other", "Other"],
];

export class VerdictList {
  constructor(title, hint = "") {
    this.verdicts = new Map();
    this.filter = "all";
    this.paused = false;
    this.most = SHOWN;
    this.more = h("button", { type: "button", class: "button more", on: { click: () => this.showMore() } }, "Show more");
    this.pause = h("button", { type: "button", class: "button", "aria-pressed": "false", on: { click: () => this.togglePause() } }, "Pause");
    this.list = h("ul", { class: "verdicts", "aria-label": title });
    this.heads = h("div", { class: "verdict-heads", "aria-hidden": "true" }, ["Verdict", "Answer", "Gold", "Reason", "Rollout"].map((name) => h("span", null, name)));
    this.none = h("p", { class: "hint" }, "No verdicts yet on this replica.");
    this.root = h(
      "section",
      { class: "panel wide", "aria-label": title },
      h(
        "div",
        { class: "panel-head" },
        h("h2", null, title),
        segments("Show", FILTERS, "all", (filter) => {
          this.filter = filter;
          this.draw();
        }),
        this.pause,
        h("p", { class: "hint" }, hint),
      ),
      this.none,
      this.heads,
      this.list,
      this.more,
    );
    this.rows = new Map();
    this.draw();
  }

  clear() {
    this.verdicts.clear();
    this.draw();
  }

  add(verdicts) {
    for (const verdict of verdicts) this.verdicts.set(verdict.id, verdict);
    if (this.verdicts.size > MAX_VERDICTS) {
      const oldest = [...this.verdicts.values()].sort((a, b) => a.at - b.at).slice(0, this.verdicts.size - MAX_VERDICTS);
      for (const verdict of oldest) this.verdicts.delete(verdict.id);
    }
    if (this.paused) this.pause.textContent = "Resume (new verdicts)";
    else this.draw();
  }

  togglePause() {
    this.paused = !this.paused;
    this.pause.setAttribute("aria-pressed", String(this.paused));
    this.pause.textContent = this.paused ? "Resume" : "Pause";
    if (!this.paused) this.draw();
  }

  showMore() {
    this.most += SHOWN_MORE;
    const next = this.rows.size;
    this.draw();
    // If the button has disappeared, move the focus to the first new row.
    if (this.more.hidden) this.list.children[next]?.focus();
  }

  matches(verdict) {
    const { status } = verdict;
    if (this.filter === "other") return status !== "correct" && status !== "wrong";
    return this.filter === "all" || this.filter === status;
  }

  draw() {
    const matching = [...this.verdicts.values()].filter((verdict) => this.matches(verdict)).sort((a, b) => b.at - a.at);
    const shown = matching.slice(0, this.most);
    this.more.hidden = matching.length <= this.most;
    const first = this.rows.size === 0;
    const rows = new Map();
    for (const verdict of shown) {
      const row = this.rows.get(verdict.id) ?? verdictRow(verdict);
      row.classList.toggle("fresh", !first && !this.rows.has(verdict.id));
      rows.set(verdict.id, row);
    }
    this.rows = rows;
    this.list.replaceChildren(...rows.values());
    this.none.hidden = shown.length > 0;
    this.heads.hidden = !shown.length;
    this.none.textContent = this.verdicts.size ? "No recent verdict of this kind." : "No verdicts yet on this replica.";
  }
}

function verdictRow(verdict) {
  const [word, kind] = WORDS[verdict.status] ?? [verdict.status, "odd"];
  const part = (name, content) => h("div", { class: "part" }, h("span", { class: "part-name" }, name), content);
  const facts = [];
  if (verdict.tokens !== null) facts.push(`${count(verdict.tokens)} tokens`);
  if (verdict.reward !== null) facts.push(`reward ${fixed(verdict.reward, 3)}`);
  if (verdict.age !== null) facts.push(`age ${count(verdict.age)}${verdict.too_old ? ", too old" : ""}`);
  const when = [verdict.phase === "eval" ? "eval" : null, verdict.step === null ? null : `step ${count(verdict.step)}`, clock(verdict.at)];
  const where = [verdict.problem_id === null ? "" : visible(verdict.problem_id), facts.join(", "), when.filter(Boolean).join(", ")];
  return h(
    "li",
    { class: "verdict", tabindex: "-1" },
    h("div", { class: "status" }, h("span", { class: `chip ${kind}` }, word)),
    part("answer", typeset(verdict.answer)),
    part("gold", typeset(verdict.gold)),
    h("div", { class: "why" }, visible(verdict.reason), " ", h("span", { class: "by" }, `by ${visible(verdict.decided_by)}`)),
    h("div", { class: "where" }, where.filter(Boolean).map((text) => h("span", null, text))),
  );
}
