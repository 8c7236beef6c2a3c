/** All runs as cards, last changed first. */

import { h, s } from "../dom.js";
import { count, fixed, percent, span } from "../format.js";
import { follow } from "../net.js";
import { VerdictList } from "./verdicts.js";

const EXAMPLE = `curl -s http://localhost:8321/v1/score -H 'Content-Type: application/json' -d '{
  "run": "first-run", "step": 1,
  "groups": [{"problem_id": "p1", "gold": "3/4", "rollouts": [
    {"response": "\\\\boxed{0.75}", "tokens": 120},
    {"response": "\\\\boxed{1}", "tokens": 90}]}]}'`;

export function runsView(hooks) {
  const list = h("ul", { class: "cards", "aria-label": "Runs" });
  const sub = h("p", { class: "sub", role: "status" }, "Connecting…");
  const body = h("div", null, list);
  const verdicts = new VerdictList("Verdicts without a run");
  const root = h("div", null, h("div", { class: "head" }, h("h1", null, "Runs"), sub), body);
  const cards = new Map();

  function update(rows) {
    const current = new Set(rows.map((row) => row.run));
    for (const [run, card] of cards) {
      if (!current.has(run)) {
        card.root.remove();
        cards.delete(run);
      }
    }
    rows.forEach((row, index) => {
      let card = cards.get(row.run);
      if (!card) cards.set(row.run, (card = makeCard(row.run)));
      card.update(row);
      // Move a card only if its position has changed, so that a focused link keeps the focus.
      if (list.children[index] !== card.root) list.insertBefore(card.root, list.children[index] ?? null);
    });
    sub.textContent = rows.length ? `${count(rows.length)} ${rows.length === 1 ? "run" : "runs"}, last changed first.` : "";
    if (!rows.length) body.replaceChildren(h("div", { class: "empty" }, h("p", null, "No runs yet. The first training request of a run creates it, for example:"), h("pre", { tabindex: "0" }, EXAMPLE)));
    else if (!list.isConnected) body.replaceChildren(list);
  }

  const stream = follow("dashboard/events", {
    begin: () => verdicts.clear(),
    state(state, detail) {
      if (state === "refused") sub.textContent = detail;
      hooks.state(state);
    },
    event(name, data) {
      if (name === "runs") {
        update(data);
        hooks.state("live");
      } else if (name === "verdicts") {
        verdicts.add(data);
        if (!verdicts.root.isConnected) root.append(h("div", { class: "grid" }, verdicts.root));
      } else if (name === "trouble") hooks.state("trouble");
      else if (name === "health") hooks.health(data);
    },
  });
  const aging = setInterval(() => cards.forEach((card) => card.age()), 5000);

  return {
    root,
    close() {
      stream.close();
      clearInterval(aging);
    },
  };
}

function makeCard(run) {
  const level = h("b");
  const ratio = h("b");
  const step = h("b");
  const strategy = h("span");
  const age = h("span");
  const spark = h("div");
  const root = h(
    "li",
    { class: "card" },
    h("h2", null, h("a", { href: `#/runs/${encodeURIComponent(run)}` }, run)),
    h(
      "div",
      { class: "facts" },
      h("div", { class: "fact level" }, level, h("span", null, "level")),
      h("div", { class: "fact" }, ratio, h("span", null, "batch pass ratio")),
      h("div", { class: "fact" }, step, h("span", null, "step")),
    ),
    spark,
    h("div", { class: "meta" }, strategy, age),
  );
  let changed = null;
  const showAge = () => {
    age.textContent = changed === null ? "" : `changed ${span(Date.now() / 1000 - changed)} ago`;
  };
  return {
    root,
    age: showAge,
    update(row) {
      level.textContent = row.kind ? fixed(row.level, 3) : "–";
      ratio.textContent = percent(row.batch_pass_ratio);
      step.textContent = count(row.step);
      strategy.textContent = `${row.strategy} · ${count(row.problems)} ${row.problems === 1 ? "problem" : "problems"}`;
      changed = row.changed;
      showAge();
      spark.replaceChildren(sparkline(row.levels, row.pass_ratios));
    },
  };
}

/** A small chart of the last steps. Hidden from screen readers, since the card has the numbers. */
function sparkline(levels, ratios) {
  const [width, height, pad] = [100, 54, 3];
  const path = (values) => {
    const known = values.map((value, i) => [i, value]).filter(([, value]) => value !== null);
    const x = (i) => (values.length > 1 ? (i * width) / (values.length - 1) : width);
    const parts = known.map(([i, value], k) => `${k ? "L" : "M"}${x(i).toFixed(2)} ${(pad + (1 - value) * (height - 2 * pad)).toFixed(2)}`);
    return known.length === 1 ? `${parts[0]}h-4` : parts.join("");
  };
  return s(
    "svg",
    { class: "spark", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    s("path", { class: "ratio", d: path(ratios) }),
    s("path", { class: "level", d: path(levels) }),
  );
}
