/** The distribution of beta over [-1, 1]: hard problems left of 0, simple ones right of it. */

import { s } from "../dom.js";
import { count, fixed, percent } from "../format.js";
import { Chart } from "./chart.js";
import { linear, ticks } from "./scale.js";

export class BetaChart extends Chart {
  constructor(spec) {
    super({ ...spec, summary: () => this.summary(), table: () => ({ head: ["β from", "to", this.unit], rows: this.bins.map((n, i) => [edge(this, i), edge(this, i + 1), count(n)]).filter((_, i) => this.bins[i] > 0) }),
      csv: () => ({ head: ["beta_from", "beta_to", this.unit], rows: this.bins.map((n, i) => [-1 + (2 * i) / this.bins.length, -1 + (2 * (i + 1)) / this.bins.length, n]) }) });
    this.bins = [];
    this.unit = "problems";
  }

  /** `bins`: counts over equal parts of [-1, 1]; `unit`: the counted things, for labels. */
  update(bins, unit) {
    this.bins = bins;
    this.unit = unit;
    this.refresh();
  }

  get total() {
    return this.bins.reduce((sum, n) => sum + n, 0);
  }

  get hard() {
    return this.bins.slice(0, this.bins.length / 2).reduce((sum, n) => sum + n, 0);
  }

  summary() {
    const total = this.total;
    if (!total) return "Nothing yet.";
    return `${count(this.hard)} of ${count(total)} ${this.unit} are hard (beta below 0), ${count(total - this.hard)} at or above 0.`;
  }

  draw() {
    const total = this.total;
    if (!total) return this.nothing("No betas yet: they come with the first step.");
    const box = (this.box = { left: 48, right: this.width - 10, top: 26, bottom: this.height - 42 });
    const most = Math.max(...this.bins);
    const x = (this.x = linear(-1, 1, box.left, box.right));
    const y = (this.y = linear(0, most, box.bottom, box.top));
    const parts = this.axes(box, x, y, {
      xTicks: [-1, -0.5, 0, 0.5, 1],
      yTicks: ticks(0, most, 4, true),
      xFormat: (v) => fixed(v, v % 1 ? 1 : 0),
      yFormat: count,
      xTitle: "β = pass ratio − level",
    });
    const width = (box.right - box.left) / this.bins.length;
    const radius = Math.min(2.5, width / 4);
    this.bins.forEach((n, i) => {
      if (!n) return;
      const top = Math.min(y(n), box.bottom - 1.5);
      const side = i < this.bins.length / 2 ? "hard" : "simple";
      parts.push(s("path", { class: `bin c-${side}`, d: bar(box.left + i * width + 1, top, width - 2, box.bottom - top, radius) }));
    });
    const zero = Math.round(x(0)) + 0.5;
    parts.push(s("line", { class: "zero-line", x1: zero, x2: zero, y1: box.top - 18, y2: box.bottom }));
    parts.push(s("text", { x: zero - 8, y: box.top - 9, "text-anchor": "end" }, `hard ${percent(this.hard / total)}`));
    parts.push(s("text", { x: zero + 8, y: box.top - 9 }, `simple ${percent((total - this.hard) / total)}`));
    return parts;
  }

  places() {
    return this.total ? this.bins.length : 0;
  }

  nearest(px) {
    if (!this.total || !this.x) return null;
    return Math.min(this.bins.length - 1, Math.max(0, Math.floor(((this.x.invert(px) + 1) / 2) * this.bins.length)));
  }

  anchor(index) {
    const width = (this.box.right - this.box.left) / this.bins.length;
    const left = this.box.left + index * width;
    const top = Math.min(this.y(this.bins[index]), this.box.bottom - 1.5);
    const side = index < this.bins.length / 2 ? "hard" : "simple";
    return { x: left + width / 2, y: top, marks: [s("path", { class: `bin picked c-${side}`, d: bar(left + 1, top, width - 2, this.box.bottom - top, 2) })] };
  }

  reading(index) {
    const n = this.bins[index];
    return { title: `β ${edge(this, index)} to ${edge(this, index + 1)}`, rows: [[this.unit, count(n)], ["share", percent(n / this.total, 1)]] };
  }
}

const edge = (chart, i) => fixed(-1 + (2 * i) / chart.bins.length, 2);

const bar = (x, y, w, height, r) => {
  const round = Math.min(r, height);
  return `M${x} ${y + height}V${y + round}Q${x} ${y} ${x + round} ${y}H${x + w - round}Q${x + w} ${y} ${x + w} ${y + round}V${y + height}Z`;
};
