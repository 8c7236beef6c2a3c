/** Lines over steps. The open step, whose values may still change, is a hollow point at the end. */

import { s } from "../dom.js";
import { count, short } from "../format.js";
import { Chart } from "./chart.js";
import { extent, linear, ticks } from "./scale.js";

export class LineChart extends Chart {
  /** `spec.series`: [{key, label, colour, thin, dashed, value: (row) => number | null}]; `spec.format` for
   *  readings, `spec.axisFormat` for ticks, `spec.domain: (low, high) => [low, high]`, `spec.nothing` text. */
  constructor(spec) {
    super({
      ...spec,
      summary: () => this.summary(),
      table: () => ({
        head: ["Step", ...spec.series.map((one) => one.label)],
        rows: [...this.rows].reverse().map((row) => [count(row.step), ...spec.series.map((one) => spec.format(one.value(row)))]),
      }),
    });
    this.rows = [];
    this.setLegend(spec.series.map((one) => ({ key: one.key, label: one.label, shape: s("path", { class: lineClass(one), d: "M0 6H18" }) })));
  }

  /** Rows of steps, ascending. */
  update(rows) {
    this.rows = rows;
    this.refresh();
  }

  summary() {
    const last = this.rows.at(-1);
    if (!last) return "No steps yet.";
    const now = this.spec.series.map((one) => `${one.label} ${this.spec.format(one.value(last))}`).join(", ");
    return `Steps ${this.rows[0].step} to ${last.step}. At step ${last.step}: ${now}.`;
  }

  get drawn() {
    return this.spec.series.filter((one) => !this.hiddenSeries.has(one.key));
  }

  draw() {
    const values = [];
    for (const one of this.drawn) {
      for (const row of this.rows) {
        const value = one.value(row);
        if (value !== null && value !== undefined) values.push(value);
      }
    }
    const range = extent(values, this.spec.around ?? 1);
    if (!range) return this.nothing(this.spec.nothing ?? "No data yet.");
    const [low, high] = this.spec.domain ? this.spec.domain(...range) : range;
    const box = (this.box = { left: 48, right: this.width - 10, top: 10, bottom: this.height - 42 });
    const first = this.rows[0].step;
    const last = this.rows.at(-1).step;
    const x = (this.x = linear(first, Math.max(last, first + 1), box.left, box.right));
    const y = (this.y = linear(low, high, box.bottom, box.top));
    const parts = this.axes(box, x, y, {
      xTicks: ticks(first, Math.max(last, first + 1), this.width / 90, true),
      yTicks: ticks(low, high, this.height / 48),
      xFormat: count,
      yFormat: this.spec.axisFormat ?? short,
      xTitle: "step",
    });
    for (const one of this.drawn) parts.push(...this.line(one, x, y));
    return parts;
  }

  /** A step without a value interrupts the line. */
  line(one, x, y) {
    const stretches = [[]];
    for (const row of this.rows) {
      const value = one.value(row);
      if (value !== null && value !== undefined) stretches.at(-1).push([x(row.step), value, row.closed]);
      else if (stretches.at(-1).length) stretches.push([]);
    }
    const points = stretches.flat();
    if (!points.length) return [];
    const parts = stretches.filter((stretch) => stretch.length > 1).map((stretch) => s("path", { class: lineClass(one), d: path(thinned(stretch, this.width), y) }));
    const sparse = points.length <= this.width / 28;
    const end = points.at(-1);
    const dotted = sparse ? points : [...stretches.filter((stretch) => stretch.length === 1).flat(), end];
    for (const point of dotted) {
      parts.push(s("circle", { class: `dot c-${one.colour}${point[2] ? "" : " open-step"}`, cx: point[0], cy: y(point[1]), r: point === end ? 4 : 3 }));
    }
    return parts;
  }

  places() {
    return this.rows.length;
  }

  nearest(px) {
    if (!this.rows.length || !this.x) return null;
    const step = this.x.invert(px);
    let low = 0;
    let high = this.rows.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (this.rows[middle].step <= step) low = middle;
      else high = middle;
    }
    return Math.abs(this.rows[high].step - step) < Math.abs(this.rows[low].step - step) ? high : low;
  }

  anchor(index) {
    const row = this.rows[index];
    const x = this.x(row.step);
    const marks = [s("line", { class: "cross", x1: x, x2: x, y1: this.box.top, y2: this.box.bottom })];
    let top = this.box.bottom;
    for (const one of this.drawn) {
      const value = one.value(row);
      if (value === null || value === undefined) continue;
      top = Math.min(top, this.y(value));
      marks.push(s("circle", { class: `dot c-${one.colour}`, cx: x, cy: this.y(value), r: 4.5 }));
    }
    return { x, y: top, marks };
  }

  reading(index) {
    const row = this.rows[index];
    return {
      title: `Step ${count(row.step)}${row.closed ? "" : " (open)"}`,
      rows: [...this.drawn.map((one) => [one.label, this.spec.format(one.value(row))]), ...(this.spec.more?.(row) ?? [])],
    };
  }
}

const lineClass = (one) => `line c-${one.colour}${one.thin ? " thin" : ""}${one.dashed ? " dashed" : ""}`;

const path = (points, y) => points.map(([x, value], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y(value).toFixed(1)}`).join("");

/** With many more points than pixels, keep the first, lowest, highest and last point of each pixel column. */
function thinned(points, width) {
  if (points.length <= width * 2) return points;
  const columns = new Map();
  for (const point of points) {
    const column = Math.round(point[0]);
    const range = columns.get(column);
    if (!range) columns.set(column, { first: point, low: point, high: point, last: point });
    else {
      if (point[1] < range.low[1]) range.low = point;
      if (point[1] > range.high[1]) range.high = point;
      range.last = point;
    }
  }
  return [...columns.values()].flatMap(({ first, low, high, last }) => [first, low, high, last]);
}
