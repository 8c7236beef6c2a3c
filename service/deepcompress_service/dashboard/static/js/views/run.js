/** The page of one run: its current step, its history, and the latest verdicts. */

import { h, s, segments, visible } from "../dom.js";
import { BetaChart } from "../charts/betas.js";
import { LineChart } from "../charts/line.js";
import { ScatterChart } from "../charts/scatter.js";
import { filter, setFilter } from "../address.js";
import { shareCrosshair } from "../crosshair.js";
import { download } from "../csv.js";
import { askToDelete } from "../delete.js";
import { ago, count, fixed, moment, percent, signed } from "../format.js";
import { follow } from "../net.js";
import { rangeControl } from "../range.js";
import { smoothingControl } from "../smoothing.js";
import { CSV_HEAD, csvRows, METRICS, MOST_STEPS, series, Steps } from "../steps.js";
import { Problems } from "./problems.js";
import { SourceChart } from "./sources.js";
import { IDLE_S } from "./runs.js";
import { VerdictList } from "./verdicts.js";

const PROBLEMS_MS = 4000;

export function runView(run, hooks) {
  const steps = new Steps();
  let activity = null;
  let betas = null;
  let betaSource = filter("betas", ["step"], "problems");
  let problemsAt = 0;
  let problemsTimer = null;
  let used = null;
  let earlierOpen = false;

  const chips = h("span", { class: "chips" });
  const sub = h("p", { class: "sub", role: "status" });
  const times = h("p", { class: "sub times" });
  const figures = h("dl", { class: "figures" });
  const notices = h("div", { class: "notices" });
  const range = rangeControl(() => drawSteps());
  let axis = filter("x", ["time"], "step");
  const axisButtons = segments("Horizontal axis", [["step", "By step"], ["time", "By time"]], axis, (value) => {
    axis = value;
    setFilter("x", value, "step");
    for (const chart of [...lines, sources]) chart.setAxis(value);
  });
  const smoothing = smoothingControl((weight) => [...lines, sources].forEach((chart) => chart.setSmoothing(weight)));
  const remove = h("button", { type: "button", class: "button", disabled: true, title: "A key with full access is needed.", on: { click: () => askToDelete(run, () => (location.hash = "#/"), hooks.needKey) } }, "Delete…");
  const controls = h(
    "div",
    { class: "controls sticky wide" },
    range.root,
    axisButtons,
    smoothing.root,
    h("button", { type: "button", class: "button", on: { click: () => download(run, CSV_HEAD, csvRows(steps.rows())) } }, "Download CSV"),
    h("a", { class: "button", href: `#/?select=${encodeURIComponent(run)}` }, "Compare…"),
    remove,
  );

  const line = (title, hint, metrics, more, nothing) => {
    const drawn = metrics.map(([key, look]) => series(key, look));
    const chart = new LineChart({ ...drawn[0], title, hint, series: drawn, file: run, more, nothing, zoom: range.zoom });
    chart.smooth = smoothing.value;
    chart.axis = axis;
    return chart;
  };
  const lines = [
    line(
      "Level and batch pass ratio",
      "The level is the smoothed pass ratio. Problems with a pass ratio above it are simple, below it hard.",
      [["pass_ratio", { colour: "ratio", thin: true }], ["level", { colour: "level" }]],
      (row) => [["groups", count(row.groups)], ["simple / hard", `${count(row.simple)} / ${count(row.hard)}`]],
      "No steps yet.",
    ),
    line(
      "Response length",
      "Mean tokens. The line of all rollouts shows what the training saves; problems change between simple and hard.",
      [
        ["tokens_hard", { colour: "hard", thin: true }],
        ["tokens_simple", { colour: "simple", thin: true, dashed: true }],
        ["tokens_wrong", { colour: "wrong", thin: true, hidden: true }],
        ["tokens_correct", { colour: "right", thin: true, dashed: true, hidden: true }],
        ["tokens", { colour: "level" }],
      ],
      undefined,
      "No token lengths yet.",
    ),
    line("Reward", "Mean over the step's rollouts.", [["outcome", { colour: "ratio", thin: true, dashed: true }], ["overlong", { colour: "odd", thin: true, hidden: true }], ["reward", { colour: "level" }]]),
    line("Length reward", "Mean of the reward's length component, on a scale of its own.", [["length", { colour: "simple" }]], (row) => [["share of the advantages", percent(row.length_share, 1)]]),
    line(
      "Length term in the advantages",
      "Share of the advantages' variance that the length term makes, and of the correct rollouts with a negative advantage. Below 2% nothing becomes shorter.",
      [["pushed_down", { colour: "wrong", thin: true, dashed: true }], ["length_share", { colour: "level" }]],
      (row) => [["groups with a signal", percent(METRICS.effective.value(row), 0)]],
    ),
    line(
      "Direction of the update",
      "Expected drift: below 0 the update makes answers shorter. Length and correctness: above 0 longer answers are right more often.",
      [["length_correctness", { colour: "ratio", thin: true, dashed: true }], ["drift", { colour: "level" }]],
    ),
    line(
      "Length by pass ratio",
      "Mean tokens of the groups on this replica. If hard groups lose their long answers, accuracy falls there next.",
      [["low_tokens", { colour: "hard" }], ["high_tokens", { colour: "simple", dashed: true }]],
    ),
    line(
      "Groups by kind",
      "In mixed groups correctness and length compete; in groups that are all correct only length differs.",
      [["mixed", { colour: "level" }], ["all_correct", { colour: "right", dashed: true }], ["none_correct", { colour: "wrong", thin: true }]],
    ),
    line(
      "Unfinished and unjudged",
      "Share of the step's rollouts. Truncated ones are counted by the store, the others by this replica.",
      [["truncated", { colour: "hard" }], ["no_answer", { colour: "wrong", dashed: true }], ["undecided", { colour: "odd" }], ["unchecked", { colour: "ratio", dashed: true }], ["unreadable", { colour: "simple", thin: true, hidden: true }], ["gold_unreadable", { colour: "level", thin: true, hidden: true }]],
      undefined,
      "No steps yet.",
    ),
  ];
  const ages = line(
    "Age of groups",
    "Versions of the policy between the oldest tokens of a group and the trainer, as the requests name them.",
    [["largest_age", { colour: "hard", thin: true }], ["age", { colour: "level" }]],
    (row) => [["too old", count(row.too_old_groups ?? 0)], ["discarded", count(row.discarded_groups ?? 0)]],
  );
  lines.push(ages);
  const sources = new SourceChart(run, smoothing.value, range.zoom);
  sources.axis = axis;
  shareCrosshair([...lines, sources]);
  const distribution = new BetaChart({
    title: "Distribution of β",
    hint: "β of each problem in its latest step.",
    file: run,
    tools: segments("Betas of", [["problems", "All problems"], ["step", "This step"]], betaSource, (value) => {
      betaSource = value;
      setFilter("betas", value, "problems");
      drawBetas();
    }),
  });
  const part = filter("y", ["length"], "reward");
  const rewards = new ScatterChart({
    title: "Reward against length",
    hint: "Rollouts of the current step.",
    file: run,
    tools: segments("Vertical axis", [["reward", "Reward"], ["length", "Length reward"]], part, (value) => {
      setFilter("y", value, "reward");
      rewards.show(value);
    }),
  });
  rewards.part = part;
  for (const chart of [...lines.slice(2), rewards]) chart.root.hidden = true;
  const left = h("p", { class: "wide sub left-out" });
  const problems = new Problems(run, () => hooks.state("key"));
  const verdicts = new VerdictList("Latest verdicts", "A sample of each request to this replica, and recent unreadable or undecided answers.");

  const root = h(
    "div",
    null,
    h("div", { class: "head" }, h("h1", null, visible(run)), chips, sub, times),
    figures,
    notices,
    h("div", { class: "grid" }, controls, folded([...lines, sources, distribution, rewards].map((chart) => chart.root)), left, problems.root, verdicts.root),
  );

  function drawSteps() {
    const all = steps.rows();
    const shown = range.of(all);
    for (const chart of lines) chart.update(shown);
    for (const chart of lines.slice(2)) chart.root.hidden = !chart.known(shown);
    sources.update(shown);
    drawLeftOut(shown.length > 0);
    drawFigures(all);
    drawTimes();
  }

  /** Name the charts that are left out, since this replica has no figures for them. */
  function drawLeftOut(trained) {
    const missing = [...lines, rewards].filter((chart) => chart !== ages && chart.root.hidden).map((chart) => chart.spec.title.toLowerCase());
    const notes = [];
    if (steps.stored.size >= MOST_STEPS) notes.push(`The charts have the newest ${count(MOST_STEPS)} steps; the API and the command "runs history" have all.`);
    if (missing.length && trained) notes.push(`Not known in these steps: ${missing.join(", ")}. This replica has such figures of the runs that were active last, since its start.`);
    left.textContent = notes.join(" ");
  }

  function drawTimes() {
    if (used === null) return times.replaceChildren();
    const active = isActive();
    const pace = steps.pace();
    const started = steps.started();
    const texts = [active ? "active" : "idle", `last request ${ago(used)}`];
    if (started !== null) texts.push(`began ${moment(started)}`);
    if (pace !== null) texts.push(pace >= 1 ? `${fixed(pace, pace < 10 ? 1 : 0)} steps a minute` : `${fixed(60 * pace, 1)} steps an hour`);
    times.replaceChildren(h("span", { class: `age ${active ? "active" : ""}` }, texts.join(" · ")));
    times.title = moment(used);
  }

  const isActive = () => used !== null && Date.now() / 1000 - used < IDLE_S;

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
      figure("Mean reward", fixed(now.reward), now.length === undefined ? "not seen by this replica" : `length reward ${signed(now.length, 4)}`),
      figure(now.closed || !isActive() ? "Last step" : "Open step", count(now.step), `${count(now.groups)} ${now.groups === 1 ? "group" : "groups"}${now.observed_groups ? `, ${count(now.observed_groups)} only observed` : ""}${now.too_old_groups ? `, ${count(now.too_old_groups)} too old` : ""}`),
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
    const points = (activity?.points ?? []).map(([tokens, reward, correct, difficulty, problem, length, version, age, tooOld]) => ({ tokens, reward, length, correct, difficulty, problem: visible(problem), version, age, tooOld }));
    const parts = Object.entries(activity?.components ?? {}).filter(([name]) => name !== "total");
    const mean = parts.map(([name, value]) => `${name} ${signed(value)}`).join(", ");
    rewards.hint.textContent = activity
      ? `Step ${count(activity.step)}${activity.seen_points > points.length ? `, ${count(points.length)} of ${count(activity.seen_points)} rollouts` : ""}. Mean ${mean}.`
      : "Rollouts of the current step on this replica.";
    rewards.update(points, activity?.step ?? null);
    rewards.root.hidden = !points.length;
    drawLeftOut(steps.stored.size > 0);
    const notice = (slug, text, when) => h("p", { class: "notice" }, h("b", null, slug), h("span", null, visible(text), when ? h("span", { class: "when" }, ` ${when}`) : ""));
    const earlier = (activity?.earlier_warnings ?? []).map((one) => notice(one.slug, one.text, one.first_step === one.last_step ? `(step ${count(one.last_step)})` : `(steps ${count(one.first_step)} to ${count(one.last_step)})`));
    notices.replaceChildren(
      ...(activity?.warnings ?? []).map(({ slug, text }) => notice(slug, text)),
      ...(earlier.length ? [h("details", { class: "earlier", open: earlierOpen, on: { toggle: (event) => (earlierOpen = event.target.open) } }, h("summary", null, `${count(earlier.length)} earlier ${earlier.length === 1 ? "warning" : "warnings"}`), earlier)] : []),
    );
    if (betaSource === "step") drawBetas();
  }

  function drawRun(row) {
    const { strategy, overlong, answer_format: format } = row.config;
    used = row.used;
    drawTimes();
    const chip = (text) => h("span", { class: "chip" }, visible(String(text)));
    chips.replaceChildren(chip(strategy.name), chip(`epoch ${count(row.epoch)}`), chip(format), row.kind === "stepless" ? chip("stepless") : "", overlong ? chip("overlong term") : "");
    sub.textContent = `${count(row.problems)} problems${["alpha", "ema"].filter((name) => strategy[name] !== undefined).map((name) => `, ${name === "ema" ? "λ" : "α"} ${parameter(strategy[name])}`).join("")}`;
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
    clearInterval(aging);
    for (const part of [...lines, sources, distribution, rewards, problems]) part.close();
  }

  const on = {
    run: drawRun,
    viewer({ may_write: mayWrite }) {
      remove.disabled = !mayWrite;
      remove.title = mayWrite ? "" : "A key with full access is needed.";
    },
    steps(data) {
      steps.store(data);
      drawSteps();
      refreshProblems();
    },
    course(data) {
      steps.sums(data);
      drawSteps();
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
      used = null;
      drawTimes();
      sub.textContent = "This run has no state: it was deleted, or has not trained yet.";
    },
  };

  const aging = setInterval(drawTimes, 5000);

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

/** The charts; on a phone those after the first two are folded, so that problems and verdicts are near. */
function folded(charts) {
  if (!matchMedia("(max-width: 640px)").matches) return charts;
  return [...charts.slice(0, 2), h("details", { class: "more-charts" }, h("summary", null, "More charts"), h("div", { class: "grid" }, charts.slice(2)))];
}

/** A number, or the text for one that changes by step. */
const parameter = (value) => (typeof value === "number" ? Number(value.toFixed(4)) : "by schedule");

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
