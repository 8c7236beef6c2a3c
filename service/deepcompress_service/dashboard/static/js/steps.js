/** A run's steps: those of the store, with the sums that this replica has of recent steps, and what is drawn of them. */

import { count, fixed, percent, short } from "./format.js";

/** The newest steps that a stream begins with (MAX_STEPS of board.py). */
export const MOST_STEPS = 2000;

export class Steps {
  constructor() {
    this.stored = new Map();
    this.course = new Map();
  }

  clear() {
    this.stored.clear();
    this.course.clear();
  }

  /** An event `steps`. */
  store({ replace, steps }) {
    if (replace) this.stored.clear();
    for (const row of steps) this.stored.set(row.step, row);
  }

  /** An event `course`. */
  sums({ steps, gone }) {
    for (const step of gone) this.course.delete(step);
    for (const row of steps) this.course.set(row.step, row);
  }

  /** Rows by step, ascending. */
  rows() {
    return [...this.stored.values()].sort((a, b) => a.step - b.step).map((row) => ({ ...this.course.get(row.step), ...row }));
  }

  /** Steps a minute over the last 20 steps that this replica saw; null for fewer than 3. */
  pace() {
    const times = [...this.course.values()].sort((a, b) => a.step - b.step).slice(-21).map((row) => row.first_at);
    const seconds = times.at(-1) - times[0];
    return times.length < 3 || !(seconds > 0) ? null : (60 * (times.length - 1)) / seconds;
  }

  /** Time of the first step, if this replica saw it. */
  started() {
    const first = Math.min(...this.stored.keys());
    return this.course.get(first)?.first_at ?? null;
  }
}

const unit = (low, high) => [Math.max(0, low), Math.min(1, high)];
const positive = (low, high) => [Math.max(0, low), high];
const share = (value) => percent(value, 1);
const part = (value, whole) => (whole ? value / whole : null);
const kinds = (row) => (row.all_correct ?? 0) + row.mixed + row.none_correct;

const ratio = { format: (value) => fixed(value), axisFormat: (value) => fixed(value, 2), domain: unit, around: 0.2 };
const rate = { format: share, axisFormat: (value) => `${short(100 * value)}%`, domain: unit, around: 0.1 };
const tokens = { format: count, domain: positive, around: 100 };
const age = { format: (value) => fixed(value, 1), domain: positive, around: 1 };
const reward = { format: (value) => fixed(value, 4), around: 0.1 };

/** What is drawn over steps. `value(row)` is null where the row has nothing to compute it from. */
export const METRICS = {
  level: { label: "level", ...ratio, value: (row) => row.level },
  pass_ratio: { label: "batch pass ratio", ...ratio, value: (row) => row.batch_pass_ratio },
  tokens: { label: "all", title: "Mean tokens", ...tokens, value: (row) => row.mean_tokens },
  tokens_correct: { label: "correct", title: "Mean tokens of correct rollouts", ...tokens, value: (row) => row.mean_tokens_correct },
  tokens_wrong: { label: "wrong", title: "Mean tokens of wrong rollouts", ...tokens, value: (row) => row.mean_tokens_wrong },
  tokens_simple: { label: "simple", title: "Mean tokens of simple problems", ...tokens, value: (row) => row.mean_tokens_simple },
  tokens_hard: { label: "hard", title: "Mean tokens of hard problems", ...tokens, value: (row) => row.mean_tokens_hard },
  reward: { label: "reward", title: "Mean reward", ...reward, value: (row) => row.reward ?? null },
  outcome: { label: "outcome", title: "Mean outcome reward", ...reward, value: (row) => row.outcome ?? null },
  overlong: { label: "overlong", title: "Mean overlong penalty", ...reward, value: (row) => row.overlong ?? null },
  length: { label: "length reward", title: "Mean length reward", ...reward, around: 0.01, value: (row) => row.length ?? null },
  length_share: { label: "share of the advantages", title: "Length term's share of the advantages", ...rate, domain: (low, high) => [low, Math.min(1.05, high)], value: (row) => row.length_share ?? null },
  pushed_down: { label: "correct ones pushed down", title: "Correct rollouts with a negative advantage", ...rate, value: (row) => row.signal?.correct_pushed_down ?? null },
  drift: { label: "expected drift of length", title: "Expected drift of length", ...reward, value: (row) => row.signal?.expected_drift ?? null },
  length_correctness: { label: "length and correctness", title: "Correlation of length and correctness", ...reward, value: (row) => row.signal?.length_correctness ?? null },
  low_tokens: { label: "pass ratio below 0.5", title: "Mean tokens where the pass ratio is below 0.5", ...tokens, value: (row) => row.signal?.hard_tokens ?? null },
  high_tokens: { label: "pass ratio of 0.5 and more", title: "Mean tokens where the pass ratio is 0.5 or more", ...tokens, value: (row) => row.signal?.easy_tokens ?? null },
  effective: { label: "groups with a signal", title: "Groups with a signal", ...rate, value: (row) => part(row.signal?.effective_groups ?? 0, row.signal?.groups ?? 0) },
  hard: { label: "hard groups", title: "Share of hard groups", ...rate, value: (row) => part(row.hard, row.simple + row.hard) },
  all_correct: { label: "all correct", title: "Groups that are all correct", ...rate, value: (row) => part(row.all_correct, kinds(row)) },
  mixed: { label: "mixed", title: "Groups with right and wrong rollouts", ...rate, value: (row) => part(row.mixed, kinds(row)) },
  none_correct: { label: "none correct", title: "Groups without a correct rollout", ...rate, value: (row) => part(row.none_correct, kinds(row)) },
  truncated: { label: "truncated", title: "Truncated", ...rate, value: (row) => part(row.truncated, row.rollouts) },
  no_answer: { label: "no answer", title: "No answer", ...rate, value: (row) => row.no_answer ?? null },
  undecided: { label: "undecided", title: "Undecided", ...rate, value: (row) => row.undecided ?? null },
  unchecked: { label: "unchecked", title: "Unchecked", ...rate, value: (row) => row.unchecked ?? null },
  unreadable: { label: "unreadable", title: "Unreadable answers", ...rate, value: (row) => row.unreadable ?? null },
  gold_unreadable: { label: "gold unreadable", title: "Unreadable gold answers", ...rate, value: (row) => row.gold_unreadable ?? null },
  age: { label: "mean", title: "Mean age of groups", ...age, value: (row) => row.mean_age ?? null },
  largest_age: { label: "largest", title: "Largest age of a group", ...age, value: (row) => row.largest_age ?? null },
};

const COUNTS = ["groups", "rollouts", "correct", "simple", "hard", "stale_groups", "observed_groups", "too_old_groups", "discarded_groups"];
const time = (seconds) => (seconds === undefined ? null : new Date(seconds * 1000).toISOString());

/** Columns of the CSV file of a run, and its rows. */
export const CSV_HEAD = ["step", "closed", "first_request", "last_request", ...COUNTS, ...Object.keys(METRICS)];

export const csvRows = (rows) =>
  rows.map((row) => [
    row.step,
    String(row.closed),
    time(row.first_at),
    time(row.last_at),
    ...COUNTS.map((name) => row[name] ?? 0),
    ...Object.values(METRICS).map((one) => one.value(row)),
  ]);

/** A series of a LineChart from a metric. */
export const series = (key, look) => ({ key, ...METRICS[key], ...look });
