/** Reward, or its length component alone, against length for the rollouts of one step. Rewards of correct and wrong
 *  answers lie far apart, and so do length rewards and zeros, so the empty middle of the axis is left out. */

import { s } from "../dom.js";
import { count, fixed, short, signed } from "../format.js";
import { Chart } from "./chart.js";
import { extent, linear, ticks } from "./scale.js";

const KINDS = [
  { key: "simple", label: "correct, simple", colour: "simple", mark: "circle" },
  { key: "hard", label: "correct, hard", colour: "hard", mark: "triangle" },
  { key: "even", label: "correct, even", colour: "even", mark: "circle" },
  { key: "wrong", label: "wrong", colour: "wrong", mark: "cross" },
];
const GAP = 22;
const REACH = 28;

export class ScatterChart extends Chart {
  constructor(spec) {
    super({
      ...spec,
      wide: true,
      summary: () => (this.points.length ? `${count(this.points.length)} rollouts of step ${count(this.step)}.` : "No data yet."),
      table: () => ({
        head: ["Problem", "Tokens", "Reward", "Length reward", "Answer", "Difficulty", ...(this.aged ? ["Policy version", "Age"] : [])],
        rows: this.points.map((p) => [
          ...[p.problem, count(p.tokens), fixed(p.reward, 4), fixed(p.length, 4), p.correct ? "correct" : "wrong", p.difficulty ?? "–"],
          ...(this.aged ? [p.version === null ? "–" : count(p.version), ageOf(p) ?? "–"] : []),
        ]),
      }),
      csv: () => ({
        head: ["step", "problem_id", "tokens", "reward", "length_reward", "correct", "difficulty", "policy_version", "age", "too_old"],
        rows: this.points.map((p) => [this.step, p.problem, p.tokens, p.reward, p.length, String(p.correct), p.difficulty, p.version, p.age, p.age === null ? null : String(p.tooOld)]),
      }),
    });
    this.points = [];
    this.step = null;
    this.part = "reward";
  }

  /** Draw the `reward`, or its `length` component. */
  show(part) {
    this.part = part;
    this.refresh();
  }

  /** `points`: [{tokens, reward, length, correct, difficulty, problem, version, age, tooOld}]. */
  update(points, step) {
    this.points = [...points].sort((a, b) => a.tokens - b.tokens || a.reward - b.reward);
    this.step = step;
    const kinds = new Set(points.map(kindOf));
    this.setLegend(KINDS.filter((kind) => kinds.has(kind.key)).map((kind) => ({ key: kind.key, label: kind.label, shape: mark(kind, 9, 6, 4.5) })));
    this.refresh();
  }

  /** True if the group of a rollout has an age. */
  get aged() {
    return this.points.some((point) => point.age !== null);
  }

  get drawn() {
    return this.points.filter((point) => !this.hiddenSeries.has(kindOf(point)));
  }

  draw() {
    const points = this.drawn;
    if (!points.length) return this.nothing(this.points.length ? "All series are hidden." : "No rollouts yet on this replica.");
    const box = (this.box = { left: 52, right: this.width - 10, top: 10, bottom: this.height - 42 });
    const [low, high] = extent(points.map((p) => p.tokens), 100, 0.04);
    const x = (this.x = linear(Math.max(0, low), high, box.left, box.right));
    const bands = (this.bands = split(points.map((p) => p[this.part]), box, this.part === "length" ? 0 : 0.5));
    const y = (this.y = (value) => (bands.find((band) => value >= band.domain[0]) ?? bands.at(-1))(value));
    const parts = this.axes(box, x, y, {
      xTicks: ticks(...x.domain, this.width / 90, true),
      yTicks: bands.flatMap((band) => ticks(...band.domain, band.size < 60 ? 1 : Math.max(2, band.size / 36))),
      xFormat: short,
      yFormat: short,
      xTitle: "tokens",
    });
    if (bands.length > 1) {
      const middle = (bands[0].bottom + bands[1].top) / 2;
      for (const up of [-3, 3]) parts.push(s("path", { class: "break", d: `M${box.left - 7} ${middle + up + 3}l14 -6` }));
      parts.push(s("line", { class: "base-line", x1: box.left, x2: box.right, y1: middle, y2: middle, "stroke-dasharray": "1 5" }));
    }
    for (const point of points) parts.push(mark(KINDS.find((kind) => kind.key === kindOf(point)), x(point.tokens), y(point[this.part]), 3.6));
    return parts;
  }

  places() {
    return this.drawn.length;
  }

  nearest(px, py) {
    if (!this.y) return null;
    let best = null;
    let reach = REACH ** 2;
    this.drawn.forEach((point, index) => {
      const far = (this.x(point.tokens) - px) ** 2 + (this.y(point[this.part]) - py) ** 2;
      if (far < reach) [best, reach] = [index, far];
    });
    return best;
  }

  anchor(index) {
    const point = this.drawn[index];
    const [x, y] = [this.x(point.tokens), this.y(point[this.part])];
    return { x, y, marks: [s("circle", { class: "picked", cx: x, cy: y, r: 7 })] };
  }

  reading(index) {
    const point = this.drawn[index];
    return {
      title: point.problem,
      rows: [
        ["tokens", count(point.tokens)],
        ["reward", fixed(point.reward, 4)],
        ["length reward", signed(point.length, 4)],
        ["answer", point.correct ? "correct" : "wrong"],
        ["problem", point.difficulty ?? "–"],
        ...(point.age === null ? [] : [["age", ageOf(point)]]),
      ],
    };
  }
}

const kindOf = (point) => (point.correct ? (point.difficulty ?? "even") : "wrong");

/** Steps of the policy since the group's oldest tokens; null if they are not known. */
const ageOf = (point) => (point.age === null ? null : `${count(point.age)}${point.tooOld ? ", too old" : ""}`);

function mark(kind, x, y, size) {
  const name = `mark-${kind.mark} c-${kind.colour}`;
  if (kind.mark === "circle") return s("circle", { class: name, cx: x, cy: y, r: size });
  if (kind.mark === "triangle") return s("path", { class: name, d: `M${x} ${y - size * 1.25}l${size * 1.2} ${size * 2.1}h${-size * 2.4}z` });
  return s("path", { class: name, d: `M${x - size} ${y - size}l${size * 2} ${size * 2}m0 ${-size * 2}l${-size * 2} ${size * 2}` });
}

/** One scale for the values, or two if an empty gap takes most of their range: the higher band first. Ranges below
 *  `least` have one scale. */
function split(rewards, box, least) {
  const sorted = [...new Set(rewards)].sort((a, b) => a - b);
  let cut = 0;
  for (let i = 1; i < sorted.length; i += 1) {
    if (sorted[i] - sorted[i - 1] > sorted[cut + 1] - sorted[cut]) cut = i - 1;
  }
  const whole = sorted.at(-1) - sorted[0];
  const gap = sorted.length > 1 ? sorted[cut + 1] - sorted[cut] : 0;
  const band = (values, bottom, top) => {
    const scale = linear(...extent(values, 0.1, 0.12), bottom, top);
    return Object.assign(scale, { bottom, top, size: bottom - top });
  };
  if (sorted.length < 2 || gap < whole * 0.45 || whole < least) return [band(sorted, box.bottom, box.top)];
  const above = sorted.slice(cut + 1);
  const below = sorted.slice(0, cut + 1);
  const flat = below.at(-1) - below[0] < (above.at(-1) - above[0]) / 20;
  const height = box.bottom - box.top - GAP;
  const lower = flat ? Math.min(46, height * 0.3) : height * 0.45;
  const upperBottom = box.bottom - lower - GAP;
  return [band(above, upperBottom, box.top), band(below, box.bottom, box.bottom - lower)];
}
