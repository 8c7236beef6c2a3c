/** Lines over steps. The open step, whose values may still change, is a hollow point at the end. */

import { s } from "../dom.js";
import { count, moment, short } from "../format.js";
import { Chart } from "./chart.js";
import { smoothed } from "../smoothing.js";
import { extent, linear, ticks } from "./scale.js";

export class LineChart extends Chart {
  /** `spec.series`: [{key, label, colour, thin, dashed, hidden, value: (row) => number | null | undefined}]: null
   *  interrupts the line, undefined is not a row of this series. `spec.format` for readings, `spec.axisFormat` for
   *  ticks, `spec.domain: (low, high) => [low, high]`, `spec.nothing` text. */
  constructor(spec) {
    super({
      ...spec,
      summary: () => this.summary(),
      table: () => ({
        head: ["Step", ...this.spec.series.map((one) => one.label)],
        rows: [...this.rows].reverse().map((row) => [count(row.step), ...this.spec.series.map((one) => this.spec.format(one.value(row)))]),
      }),
      csv: () => ({
        head: ["step", ...this.spec.series.map((one) => one.label)],
        rows: this.rows.map((row) => [row.step, ...this.spec.series.map((one) => one.value(row))]),
      }),
    });
    this.rows = [];
    this.smooth = 0;
    for (const one of spec.series) if (one.hidden) this.hiddenSeries.add(one.key);
    this.setSeries(spec.series);
  }

  setSeries(series) {
    this.spec.series = series;
    this.setLegend(series.map((one) => ({ key: one.key, label: one.label, shape: s("path", { class: lineClass(one), d: "M0 6H18" }) })));
  }

  /** `weight` of the past, in [0, 1). */
  setSmoothing(weight) {
    this.smooth = weight;
    this.prepare();
    this.redraw();
  }

  /** The values to draw: [series][row]. */
  prepare() {
    this.lines = new Map(this.spec.series.map((one) => [one.key, smoothed(this.rows.map(one.value), this.smooth)]));
  }

  /** Rows of steps, ascending. */
  update(rows) {
    this.rows = rows;
    this.prepare();
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
    if (this.smooth) for (const one of this.drawn) parts.push(...this.line(one, this.rows.map(one.value), x, y, true));
    for (const one of this.drawn) parts.push(...this.line(one, this.lines.get(one.key), x, y));
    return parts;
  }

  /** A step without a value interrupts the line. `raw`: the values behind a smoothed line. */
  line(one, values, x, y, raw = false) {
    const stretches = [[]];
    this.rows.forEach((row, index) => {
      const value = values[index];
      if (value !== null && value !== undefined) stretches.at(-1).push([x(row.step), value, row.closed]);
      else if (value === null && stretches.at(-1).length) stretches.push([]);
    });
    const points = stretches.flat();
    if (!points.length) return [];
    const parts = stretches.filter((stretch) => stretch.length > 1).map((stretch) => s("path", { class: raw ? `${lineClass(one)} raw` : lineClass(one), d: path(thinned(stretch, this.width), y) }));
    if (raw) return parts;
    const sparse = points.length <= this.width / 28;
    const end = points.at(-1);
    const dotted = sparse ? points : [...stretches.filter((stretch) => stretch.length === 1).flat(), end];
    for (const point of dotted) {
      parts.push(s("circle", { class: `dot c-${one.colour}${point[2] ? "" : " open-step"}`, cx: point[0], cy: y(point[1]), r: point === end ? 4 : 3 }));
    }
    return parts;
  }

  /** The value of a row, and the smoothed one where lines are smoothed. */
  value(one, index) {
    const text = this.spec.format(one.value(this.rows[index]));
    return this.smooth ? `${text} (${this.spec.format(this.lines.get(one.key)[index])})` : text;
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
      const value = this.lines.get(one.key)[index];
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
      rows: [...this.drawn.filter((one) => one.value(row) !== undefined).map((one) => [one.label, this.value(one, index)]), ...(this.spec.more?.(row) ?? []), ...(row.first_at === undefined ? [] : [["time", moment(row.first_at)]])],
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
