/** The list of runs as cards: searched, sorted and paged by the service, the newest first. */

import { h, s, visible } from "../dom.js";
import { address, compareLink, filter, runLink, setFilter } from "../address.js";
import { ago, count, fixed, moment, percent } from "../format.js";
import { follow } from "../net.js";
import { VerdictList } from "./verdicts.js";

const MAX_COMPARED = 8;
const TYPING_MS = 250;
/** A run without a request for this long is shown as idle. */
export const IDLE_S = 900;
const ORDERS = [
  ["-changed", "Newest first"],
  ["changed", "Oldest first"],
  ["run", "Name, A to Z"],
  ["-run", "Name, Z to A"],
  ["-step", "Most steps"],
  ["-level", "Highest level"],
  ["level", "Lowest level"],
  ["-pass_ratio", "Highest pass ratio"],
  ["pass_ratio", "Lowest pass ratio"],
];
const example = () => `curl -s ${new URL("v1/score", document.baseURI)} -H 'Content-Type: application/json' -d '{
  "run": "first-run", "step": 1,
  "groups": [{"problem_id": "p1", "gold": "3/4", "rollouts": [
    {"response": "\\\\boxed{0.75}", "tokens": 120},
    {"response": "\\\\boxed{1}", "tokens": 90}]}]}'`;

export function runsView(hooks) {
  const list = h("ul", { class: "cards", "aria-label": "Runs" });
  const sub = h("p", { class: "sub", role: "status" }, "Connecting…");
  const body = h("div", null, list);
  const verdicts = new VerdictList("Verdicts without a run");
  const search = h("input", { class: "field", type: "search", placeholder: "Search runs", "aria-label": "Search runs", maxlength: "200", value: address().query.get("search") ?? "", on: { input: typed } });
  const order = h(
    "select",
    { class: "field", "aria-label": "Order", on: { change: () => change("sort", order.value, "-changed") } },
    ORDERS.map(([value, label]) => h("option", { value, selected: value === filter("sort", ORDERS.map(([key]) => key), "-changed") }, label)),
  );
  const compare = h("a", { class: "button main" });
  const none = h("button", { type: "button", class: "button", on: { click: () => select([]) } }, "Clear");
  const picked = h("span", { class: "picked-runs", hidden: true }, compare, none);
  const back = h("button", { type: "button", class: "button", on: { click: () => turn(-1) } }, "Previous");
  const forth = h("button", { type: "button", class: "button", on: { click: () => turn(1) } }, "Next");
  const pageText = h("span", { role: "status" });
  const pager = h("div", { class: "pager", hidden: true }, pageText, back, forth);
  const controls = h("div", { class: "controls", hidden: true }, search, order, picked);
  const root = h("div", null, h("div", { class: "head" }, h("h1", null, "Runs"), sub), controls, body, pager);
  const cards = new Map();
  let chosen = new Set(address().query.getAll("select").slice(0, MAX_COMPARED));
  let page = Math.max(1, Number.parseInt(address().query.get("page"), 10) || 1);
  let stream = null;
  let typing = null;

  function typed() {
    clearTimeout(typing);
    typing = setTimeout(() => change("search", search.value.trim(), ""), TYPING_MS);
  }

  function change(name, value, normal) {
    setFilter(name, value, normal);
    page = 1;
    setFilter("page", page, 1);
    connect();
  }

  function turn(by) {
    page += by;
    setFilter("page", page, 1);
    connect();
    window.scrollTo(0, 0);
  }

  function select(runs) {
    chosen = new Set(runs);
    picked.hidden = chosen.size === 0;
    compare.textContent = chosen.size < 2 ? "Compare: choose another run" : `Compare ${count(chosen.size)} runs`;
    if (chosen.size < 2) compare.removeAttribute("href");
    else compare.setAttribute("href", compareLink([...chosen]));
    for (const card of cards.values()) card.choose(chosen);
  }

  function toggle(run, on) {
    select(on ? [...chosen, run] : [...chosen].filter((one) => one !== run));
  }

  function update({ runs, page: shown, pages, matching, total }) {
    const current = new Set(runs.map((row) => row.run));
    for (const [run, card] of cards) {
      if (!current.has(run)) {
        card.root.remove();
        cards.delete(run);
      }
    }
    runs.forEach((row, index) => {
      let card = cards.get(row.run);
      if (!card) {
        cards.set(row.run, (card = makeCard(row.run, toggle)));
        card.choose(chosen);
      }
      card.update(row);
      // Move a card only if its position has changed, so that a focused link keeps the focus.
      if (list.children[index] !== card.root) list.insertBefore(card.root, list.children[index] ?? null);
    });
    page = shown;
    controls.hidden = total === 0;
    pager.hidden = pages === 1;
    pageText.textContent = `Page ${count(shown)} of ${count(pages)}`;
    back.disabled = shown === 1;
    forth.disabled = shown === pages;
    const runsWord = (n) => `${count(n)} ${n === 1 ? "run" : "runs"}`;
    sub.textContent = !total ? "" : matching === total ? `${runsWord(total)}.` : `${count(matching)} of ${runsWord(total)}.`;
    if (!total) body.replaceChildren(h("div", { class: "empty" }, h("p", null, "No runs yet. The first training request of a run creates it, for example:"), h("pre", { tabindex: "0" }, example())));
    else if (!matching) body.replaceChildren(h("div", { class: "empty" }, h("p", null, "No run has this in its name.")));
    else if (!list.isConnected) body.replaceChildren(list);
  }

  function connect() {
    stream?.close();
    const query = new URLSearchParams({ sort: order.value, page });
    if (search.value.trim()) query.set("search", search.value.trim());
    stream = follow(`dashboard/events?${query}`, {
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
  }

  select([...chosen]);
  connect();
  const aging = setInterval(() => cards.forEach((card) => card.age()), 5000);

  return {
    root,
    close() {
      stream.close();
      clearTimeout(typing);
      clearInterval(aging);
    },
  };
}

function makeCard(run, toggle) {
  const level = h("b");
  const tokens = h("b");
  const ratio = h("b");
  const step = h("b");
  const strategy = h("span");
  const age = h("span", { class: "age" });
  const spark = h("div", { class: "sparks", "aria-hidden": "true" });
  const box = h("input", { type: "checkbox", on: { change: () => toggle(run, box.checked) } });
  const root = h(
    "li",
    { class: "card" },
    h("div", { class: "card-head" }, h("h2", null, h("a", { href: runLink(run) }, visible(run))), h("label", { class: "choose" }, box, h("span", { class: "visually-hidden" }, `Compare ${visible(run)}`))),
    h(
      "div",
      { class: "facts" },
      h("div", { class: "fact", title: "Mean tokens of the last step" }, tokens, h("span", null, "tokens")),
      h("div", { class: "fact", title: "Batch pass ratio of the last step" }, ratio, h("span", null, "pass ratio")),
      h("div", { class: "fact level" }, level, h("span", null, "level")),
      h("div", { class: "fact" }, step, h("span", null, "step")),
    ),
    spark,
    h("div", { class: "meta" }, strategy, age),
  );
  let changed = null;
  const showAge = () => {
    age.textContent = changed === null ? "" : ago(changed);
    age.title = changed === null ? "" : `Last request ${moment(changed)}`;
    age.classList.toggle("active", changed !== null && Date.now() / 1000 - changed < IDLE_S);
  };
  return {
    root,
    age: showAge,
    choose(chosen) {
      box.checked = chosen.has(run);
      box.disabled = !box.checked && chosen.size >= MAX_COMPARED;
    },
    update(row) {
      level.textContent = row.kind ? fixed(row.level, 3) : "–";
      tokens.textContent = count(row.tokens.findLast((value) => value !== null));
      ratio.textContent = percent(row.batch_pass_ratio);
      step.textContent = count(row.step);
      strategy.textContent = `${row.strategy} · ${count(row.problems)} ${row.problems === 1 ? "problem" : "problems"}`;
      changed = row.changed;
      showAge();
      spark.replaceChildren(
        sparkline("tokens", [["tokens", row.tokens]], (low, high) => [0, 1.05 * high]),
        sparkline("pass ratio, level", [["ratio", row.pass_ratios], ["level", row.levels]], (low, high) => [Math.min(low, high - 0.2), Math.max(high, low + 0.2)]),
      );
    },
  };
}

/** A small chart of the last steps. `series`: [[class, values]]. `domain(low, high)` is the range of the vertical axis. */
function sparkline(title, series, domain) {
  const [width, height, pad] = [100, 48, 3];
  const all = series.flatMap(([, values]) => values).filter((value) => value !== null);
  const [low, high] = all.length ? domain(Math.min(...all), Math.max(...all)) : [0, 1];
  const y = (value) => pad + (1 - (high > low ? (value - low) / (high - low) : 0.5)) * (height - 2 * pad);
  const path = (values) => {
    const known = values.map((value, i) => [i, value]).filter(([, value]) => value !== null);
    const x = (i) => (values.length > 1 ? (i * width) / (values.length - 1) : width);
    const parts = known.map(([i, value], k) => `${k ? "L" : "M"}${x(i).toFixed(2)} ${y(value).toFixed(2)}`);
    return known.length === 1 ? `${parts[0]}h-4` : parts.join("");
  };
  const svg = s("svg", { class: "spark", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none" }, series.map(([kind, values]) => s("path", { class: kind, d: path(values) })));
  return h("div", null, svg, h("span", { class: "spark-title" }, title));
}
