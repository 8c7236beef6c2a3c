/** The page of one run: its current step, its history, and the latest verdicts. */

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
  let range = "all";
  let activity = null;
  let betas = null;
  let betaSource = "problems";
  let problemsAt = 0;
  let problemsTimer = null;

  const chips = h("span", { class: "chips" });
  const sub = h("p", { class: "sub", role: "status" });
  const figures = h("dl", { class: "figures" });
  const notices = h("div", { class: "notices" });
  const rangeButtons = segments("Steps shown", [["all", "All steps"], ["200", "Last 200"], ["50", "Last 50"]], "all", (value) => {
    range = value;
    drawSteps();
  });

  const level = new LineChart({
    title: "Level and batch pass ratio",
    hint: "The level is the smoothed pass ratio. Problems with a pass ratio above it are simple, below it hard.",
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
    hint: "Mean tokens by step. Responses to simple problems should become shorter; those to hard ones may become longer.",
    series: [
      { key: "hard", label: "hard", colour: "hard", value: (row) => row.mean_tokens_hard },
      { key: "simple", label: "simple", colour: "simple", dashed: true, value: (row) => row.mean_tokens_simple },
    ],
    format: count,
    around: 100,
    domain: (low, high) => [Math.max(0, low), high],
    more: (row) => [["correct", count(row.mean_tokens_correct)], ["wrong", count(row.mean_tokens_wrong)]],
    nothing: "No token lengths yet.",
  });
  const distribution = new BetaChart({
    title: "Distribution of β",
    hint: "β of each problem in its latest step.",
    tools: segments("Betas of", [["problems", "All problems"], ["step", "This step"]], "problems", (value) => {
      betaSource = value;
      drawBetas();
    }),
  });
  const rewards = new ScatterChart({ title: "Reward against length", hint: "Rollouts of the current step." });
  const problems = new Problems(run, () => hooks.state("key"));
  const verdicts = new VerdictList("Latest verdicts", "A sample of each request to this replica, and recent unreadable or undecided answers.");

  const root = h(
    "div",
    null,
    h("div", { class: "head" }, h("h1", null, visible(run)), chips, sub),
    figures,
    notices,
    h("div", { class: "grid" }, h("div", { class: "wide" }, rangeButtons), level.root, tokens.root, distribution.root, rewards.root, problems.root, verdicts.root),
  );

  const rows = () => [...steps.values()].sort((a, b) => a.step - b.step);

  function drawSteps() {
    const all = rows();
    const shown = range === "all" ? all : all.slice(-Number(range));
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
      figure("Batch pass ratio", percent(now.batch_pass_ratio, 1), now.batch_pass_ratio === null ? "" : `${count(now.correct)} of ${count(now.rollouts)} rollouts correct`),
      h("div", { class: "figure" }, h("dt", null, "Simple and hard"), h("dd", null, `${count(now.simple)} / ${count(now.hard)}`, splitBar(sided ? now.simple / sided : null))),
      figure("Mean tokens", count(now.mean_tokens), change(now.mean_tokens, before?.mean_tokens, 0)),
      figure("Truncated", percent(now.rollouts ? now.truncated / now.rollouts : null, 1), `${count(now.truncated)} of ${count(now.rollouts)}`),
      figure(now.closed ? "Last step" : "Open step", count(now.step), `${count(now.groups)} groups${now.observed_groups ? `, ${count(now.observed_groups)} only observed` : ""}`),
    );
  }

  function drawBetas() {
    const step = betaSource === "step";
    distribution.hint.textContent = step
      ? `Groups of step ${activity ? count(activity.step) : "–"} on this replica, relative to the level when they arrived.`
      : betas && !betas.complete
        ? `β of each problem in its latest step; the first ${count(betas.problems)} problems.`
        : "β of each problem in its latest step.";
    distribution.update((step ? activity?.betas : betas?.bins) ?? [], step ? "groups" : "problems");
  }

  function drawActivity() {
    const points = (activity?.points ?? []).map(([count_, reward, correct, difficulty, problem]) => ({ tokens: count_, reward, correct, difficulty, problem: visible(problem) }));
    const parts = Object.entries(activity?.components ?? {}).filter(([name]) => name !== "total");
    const mean = parts.map(([name, value]) => `${name} ${signed(value)}`).join(", ");
    rewards.hint.textContent = activity
      ? `Step ${count(activity.step)}${activity.seen_points > points.length ? `, ${count(points.length)} of ${count(activity.seen_points)} rollouts` : ""}. Mean ${mean}.`
      : "Rollouts of the current step on this replica.";
    rewards.update(points, activity?.step ?? null);
    notices.replaceChildren(...(activity?.warnings ?? []).map(({ slug, text }) => h("p", { class: "notice" }, h("b", null, slug), h("span", null, visible(text)))));
    if (betaSource === "step") drawBetas();
  }

  function drawRun(row) {
    const { strategy, overlong, answer_format: format } = row.config;
    const chip = (text) => h("span", { class: "chip" }, visible(String(text)));
    chips.replaceChildren(chip(strategy.name), chip(`epoch ${count(row.epoch)}`), chip(format), row.kind === "stepless" ? chip("stepless") : "", overlong ? chip("overlong term") : "");
    sub.textContent = `${count(row.problems)} problems${strategy.alpha === undefined ? "" : `, α ${strategy.alpha}`}${strategy.ema === undefined ? "" : `, λ ${strategy.ema}`}`;
  }

  /** Reload the problems after a change, at most once in PROBLEMS_MS. */
  function refreshProblems() {
    clearTimeout(problemsTimer);
    const wait = Math.max(0, problemsAt + Math.max(PROBLEMS_MS, 30 * problems.loadMs) - Date.now());
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
    activity(data) {
      activity = data;
      drawActivity();
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
    // Browsers remove `.` and `..` from every address, so a request would go to another path.
    sub.textContent = "A run of this name cannot be shown in a browser. Use the API.";
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
  if (simple === null) return h("span", { class: "sub" }, "no simple or hard groups yet");
  const width = 100 * simple;
  return h(
    "span",
    { class: "sub" },
    s("svg", { class: "split", viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" }, s("rect", { class: "simple", width, height: 6 }), s("rect", { class: "hard", x: width, width: 100 - width, height: 6 })),
    `${percent(simple)} simple`,
  );
}
