/** One run: where it stands, how it got there, and what was decided lately. */

import { h, s, segments, visible } from "../dom.js";
import { BetaChart } from "../charts/betas.js";
import { LineChart } from "../charts/line.js";
import { ScatterChart } from "../charts/scatter.js";
import { count, fixed, percent, signed } from "../format.js";
import { follow } from "../net.js";
import { Problems } from "./problems.js";
import { VerdictList } from "./verdicts.js";

const PROBLEMS_MS = 4000;

export function runView(run, hooks) {
  const steps = new Map();
  let reach = "all";
  let window_ = null;
  let betas = null;
  let betaSource = "problems";
  let problemsAt = 0;
  let problemsTimer = null;

  const chips = h("span", { class: "chips" });
  const sub = h("p", { class: "sub", role: "status" });
  const figures = h("dl", { class: "figures" });
  const notices = h("div", { class: "notices" });
  const reachButtons = segments("Steps drawn", [["all", "All steps"], ["200", "Last 200"], ["50", "Last 50"]], "all", (value) => {
    reach = value;
    drawSteps();
  });

  const level = new LineChart({
    title: "Level and batch pass ratio",
    hint: "The level follows the pass ratio slowly; problems above it are simple, below it hard.",
    series: [
      { key: "ratio", label: "batch pass ratio", colour: "ratio", thin: true, value: (row) => row.batch_pass_ratio },
      { key: "level", label: "level", colour: "level", value: (row) => row.level },
    ],
    format: (value) => fixed(value),
    around: 0.2,
    domain: (low, high) => [Math.max(0, low), Math.min(1, high)],
    axisFormat: (value) => fixed(value, 2),
    more: (row) => [["groups", count(row.groups)], ["simple / hard", `${count(row.simple)} / ${count(row.hard)}`]],
    nothing: "No steps yet.",
  });
  const tokens = new LineChart({
    title: "Length of simple and hard problems",
    hint: "Mean tokens by step. Simple problems should shrink; hard ones may grow.",
    series: [
      { key: "hard", label: "hard", colour: "hard", value: (row) => row.mean_tokens_hard },
      { key: "simple", label: "simple", colour: "simple", dashed: true, value: (row) => row.mean_tokens_simple },
    ],
    format: count,
    around: 100,
    domain: (low, high) => [Math.max(0, low), high],
    more: (row) => [["right", count(row.mean_tokens_correct)], ["wrong", count(row.mean_tokens_wrong)]],
    nothing: "No token lengths yet.",
  });
  const distribution = new BetaChart({
    title: "Distribution of β",
    hint: "Each problem's β the last time it was seen.",
    tools: segments("Betas of", [["problems", "All problems"], ["step", "This step"]], "problems", (value) => {
      betaSource = value;
      drawBetas();
    }),
  });
  const rewards = new ScatterChart({ title: "Reward against length", hint: "The rollouts of the current step." });
  const problems = new Problems(run, () => hooks.state("key"));
  const verdicts = new VerdictList("Latest verdicts", "As decided by the replica that answers this page: a sample of each request, and all that was odd.");

  const root = h(
    "div",
    null,
    h("div", { class: "head" }, h("h1", null, visible(run)), chips, sub),
    figures,
    notices,
    h("div", { class: "grid" }, h("div", { class: "wide" }, reachButtons), level.root, tokens.root, distribution.root, rewards.root, problems.root, verdicts.root),
  );

  const rows = () => [...steps.values()].sort((a, b) => a.step - b.step);

  function drawSteps() {
    const all = rows();
    const shown = reach === "all" ? all : all.slice(-Number(reach));
    level.update(shown);
    tokens.update(shown);
    drawFigures(all);
  }

  function drawFigures(all) {
    const now = all.at(-1);
    const before = all.at(-2);
    if (!now) return figures.replaceChildren();
    const change = (value, old, digits) => (value === null || old === undefined || old === null ? "" : `${signed(value - old, digits)} since step ${count(before.step)}`);
    const sided = now.simple + now.hard;
    figures.replaceChildren(
      figure("Level", fixed(now.level), change(now.level, before?.level, 3)),
      figure("Batch pass ratio", percent(now.batch_pass_ratio, 1), now.batch_pass_ratio === null ? "" : `${count(now.correct)} of ${count(now.rollouts)} rollouts right`),
      h("div", { class: "figure" }, h("dt", null, "Simple and hard"), h("dd", null, `${count(now.simple)} / ${count(now.hard)}`, splitBar(sided ? now.simple / sided : null))),
      figure("Mean tokens", count(now.mean_tokens), change(now.mean_tokens, before?.mean_tokens, 0)),
      figure("Truncated", percent(now.rollouts ? now.truncated / now.rollouts : null, 1), `${count(now.truncated)} of ${count(now.rollouts)}`),
      figure(now.closed ? "Last step" : "Open step", count(now.step), `${count(now.groups)} groups${now.observed_groups ? `, ${count(now.observed_groups)} only observed` : ""}`),
    );
  }

  function drawBetas() {
    const step = betaSource === "step";
    distribution.hint.textContent = step
      ? `The groups of step ${window_ ? count(window_.step) : "–"}, as this replica saw them, against the level when they arrived.`
      : betas && !betas.complete
        ? `Each problem's β the last time it was seen; the first ${count(betas.problems)} problems.`
        : "Each problem's β the last time it was seen.";
    distribution.update((step ? window_?.betas : betas?.bins) ?? [], step ? "groups" : "problems");
  }

  function drawWindow() {
    const points = (window_?.points ?? []).map(([count_, reward, correct, difficulty, problem]) => ({ tokens: count_, reward, correct, difficulty, problem: visible(problem) }));
    const parts = Object.entries(window_?.components ?? {}).filter(([name]) => name !== "total");
    const mean = parts.map(([name, value]) => `${name} ${signed(value)}`).join(", ");
    rewards.hint.textContent = window_
      ? `Step ${count(window_.step)}${window_.seen_points > points.length ? `, ${count(points.length)} of ${count(window_.seen_points)} rollouts` : ""}. Mean ${mean}.`
      : "The rollouts of the current step, as this replica saw them.";
    rewards.update(points, window_?.step ?? null);
    notices.replaceChildren(...(window_?.traps ?? []).map(({ slug, text }) => h("p", { class: "notice" }, h("b", null, slug), h("span", null, visible(text)))));
    if (betaSource === "step") drawBetas();
  }

  function drawRun(row) {
    const { strategy, overlong, answer_format: format } = row.config;
    const chip = (text) => h("span", { class: "chip" }, visible(String(text)));
    chips.replaceChildren(chip(strategy.name), chip(`epoch ${count(row.epoch)}`), chip(format), row.kind === "stepless" ? chip("stepless") : "", overlong ? chip("overlong term") : "");
    sub.textContent = `${count(row.problems)} problems${strategy.alpha === undefined ? "" : `, α ${strategy.alpha}`}${strategy.ema === undefined ? "" : `, λ ${strategy.ema}`}`;
  }

  /** The list follows the run, but not faster than it can be read. */
  function refreshProblems() {
    clearTimeout(problemsTimer);
    const wait = Math.max(0, problemsAt + Math.max(PROBLEMS_MS, 30 * problems.took) - Date.now());
    problemsTimer = setTimeout(() => {
      problemsAt = Date.now();
      problems.load();
    }, wait);
  }

  function closeParts() {
    clearTimeout(problemsTimer);
    for (const part of [level, tokens, distribution, rewards, problems]) part.close();
  }

  const on = {
    run: drawRun,
    steps({ replace, steps: changed }) {
      if (replace) steps.clear();
      for (const row of changed) steps.set(row.step, row);
      drawSteps();
      refreshProblems();
    },
    betas(data) {
      betas = data;
      if (betaSource === "problems") drawBetas();
    },
    window(data) {
      window_ = data;
      drawWindow();
    },
    verdicts: (data) => verdicts.add(data),
    gone() {
      clearTimeout(problemsTimer);
      problems.clear();
      steps.clear();
      drawSteps();
      chips.replaceChildren();
      sub.textContent = "This run has no state: it was deleted, or has not trained yet.";
    },
  };

  if (run === "." || run === "..") {
    // A browser takes them out of every address, so whatever it asked for would be something else.
    sub.textContent = "A run of this name cannot be shown in a browser. Its numbers are in the API.";
    hooks.state("refused");
    return { root, close: closeParts };
  }

  const stream = follow(`dashboard/runs/${encodeURIComponent(run)}/events`, {
    begin: () => verdicts.clear(),
    state(state, detail) {
      if (state === "refused") sub.textContent = detail;
      hooks.state(state);
    },
    event(name, data) {
      if (name === "health") hooks.health(data);
      else if (name === "trouble") hooks.state("trouble");
      else {
        if (name === "run") hooks.state("live");
        on[name]?.(data);
      }
    },
  });

  return {
    root,
    close() {
      stream.close();
      closeParts();
    },
  };
}

const figure = (name, value, sub) => h("div", { class: "figure" }, h("dt", null, name), h("dd", null, value, h("span", { class: "sub" }, sub)));

function splitBar(simple) {
  if (simple === null) return h("span", { class: "sub" }, "none sided yet");
  const width = 100 * simple;
  return h(
    "span",
    { class: "sub" },
    s("svg", { class: "split", viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" }, s("rect", { class: "simple", width, height: 6 }), s("rect", { class: "hard", x: width, width: 100 - width, height: 6 })),
    `${percent(simple)} simple`,
  );
}
