/** Lines over steps, or over the time of each step. The open step, whose values may still change, is a hollow point at the end. */

import { s } from "../dom.js";
import { count, moment, short, timeLabel } from "../format.js";
import { Chart } from "./chart.js";
import { smoothed } from "../smoothing.js";
import { extent, linear, ticks, timeTicks } from "./scale.js";

export class LineChart extends Chart {
  /** `spec.series`: [{key, label, colour, thin, dashed, hidden, value: (row) => number | null | undefined}]: null
   *  interrupts the line, undefined is not a row of this series. `spec.format` for readings, `spec.axisFormat` for
   *  ticks, `spec.domain: (low, high) => [low, high]`, `spec.nothing` text. `spec.zoom(first, last)` shows these steps
   *  alone, and `zoom(null)` all: by dragging and a double click, or by the keys [ and ] at a point and 0. */
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
    this.all = [];
    this.rows = [];
    this.axis = "step";
    this.marked = null;
    this.smooth = 0;
    for (const one of spec.series) if (one.hidden) this.hiddenSeries.add(one.key);
    this.setSeries(spec.series);
    if (spec.zoom) this.listenToDrags();
  }

  /** Select steps with a mouse or a pen. A finger scrolls the page instead. */
  listenToDrags() {
    const at = (event) => event.clientX - this.plot.getBoundingClientRect().left;
    this.plot.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "touch" || event.button !== 0 || !this.rows.length) return;
      this.dragged = [at(event), at(event)];
      this.plot.setPointerCapture(event.pointerId);
    });
    this.plot.addEventListener("pointermove", (event) => {
      if (!this.dragged) return;
      this.dragged[1] = at(event);
      this.redraw();
    });
    this.plot.addEventListener("pointerup", () => {
      if (!this.dragged) return;
      const [from, to] = this.dragged;
      this.dragged = null;
      if (Math.abs(to - from) < LEAST_DRAG_PX) return this.redraw();
      const steps = this.rows.slice(this.nearest(Math.min(from, to)), this.nearest(Math.max(from, to)) + 1).map((row) => row.step);
      this.pick(null);
      this.spec.zoom(Math.min(...steps), Math.max(...steps));
    });
    this.plot.addEventListener("pointercancel", () => (this.dragged = null));
    this.plot.addEventListener("dblclick", () => this.spec.zoom(null));
  }

  key(event) {
    const steps = this.rows.map((row) => row.step);
    const step = this.picked === null ? null : steps[this.picked];
    if (!this.spec.zoom) return super.key(event);
    if (event.key === "[" && step !== null) this.spec.zoom(step, steps.reduce((a, b) => Math.max(a, b)));
    else if (event.key === "]" && step !== null) this.spec.zoom(steps.reduce((a, b) => Math.min(a, b)), step);
    else if (event.key === "0") this.spec.zoom(null);
    else super.key(event);
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

  /** "step", or "time": the time of each step's first request. Steps without a known time are then left out. */
  setAxis(axis) {
    this.axis = axis;
    this.update(this.all);
  }

  /** The place of a row on the horizontal axis. */
  place(row) {
    return this.axis === "time" ? row.first_at : row.step;
  }

  /** The values to draw: [series][row]. */
  prepare() {
    this.lines = new Map(this.spec.series.map((one) => [one.key, smoothed(this.rows.map(one.value), this.smooth)]));
  }

  stepOf(index) {
    return index === null ? null : this.rows[index].step;
  }

  /** The place of a step, or null. */
  placeOf(step) {
    const index = step === null ? -1 : this.rows.findIndex((row) => row.step === step);
    return index < 0 ? null : index;
  }

  /** Mark a step that another chart has picked; null for none. */
  mark(step) {
    if (step === this.marked && this.picked === null) return;
    this.marked = step;
    this.picked = null;
    this.showReading();
  }

  pick(index) {
    if (index !== null) this.marked = null;
    super.pick(index);
  }

  get read() {
    return this.picked ?? this.placeOf(this.marked);
  }

  /** Rows of steps, ascending. A picked step stays picked. */
  update(rows) {
    const step = this.stepOf(this.picked);
    this.all = rows;
    this.rows = this.axis === "time" ? rows.filter((row) => row.first_at !== undefined).sort((a, b) => a.first_at - b.first_at) : rows;
    this.picked = this.placeOf(step);
    this.prepare();
    this.refresh();
  }

  summary() {
    const last = this.rows.at(-1);
    if (!last) return this.axis === "time" ? "No step with a known time." : "No steps yet.";
    const now = this.spec.series.map((one) => `${one.label} ${this.spec.format(one.value(last))}`).join(", ");
    return `Steps ${this.rows[0].step} to ${last.step}. At step ${last.step}: ${now}.`;
  }

  /** True if one of these rows has a value of a series. */
  known(rows) {
    return rows.some((row) => this.spec.series.some((one) => (one.value(row) ?? null) !== null));
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
    this.box = null;
    if (!range) return this.nothing(this.absence());
    const [low, high] = this.spec.domain ? this.spec.domain(...range) : range;
    const box = (this.box = { left: 48, right: this.width - 10, top: 10, bottom: this.height - 42 });
    const first = this.place(this.rows[0]);
    const last = Math.max(this.place(this.rows.at(-1)), first + 1);
    const x = (this.x = linear(first, last, box.left, box.right));
    const most = this.width / 90;
    const times = this.axis === "time" ? timeTicks(first, last, most) : null;
    const y = (this.y = linear(low, high, box.bottom, box.top));
    const parts = this.axes(box, x, y, {
      xTicks: times ? times.at : ticks(first, last, most, true),
      yTicks: ticks(low, high, this.height / 48),
      xFormat: times ? (seconds) => timeLabel(seconds, times.size) : count,
      yFormat: this.spec.axisFormat ?? short,
      xTitle: this.axis,
    });
    if (this.smooth) for (const one of this.drawn) parts.push(...this.line(one, this.rows.map(one.value), x, y, true));
    for (const one of this.drawn) parts.push(...this.line(one, this.lines.get(one.key), x, y));
    if (this.dragged) {
      const [from, to] = [...this.dragged].sort((a, b) => a - b).map((px) => Math.min(Math.max(px, box.left), box.right));
      parts.push(s("rect", { class: "selected", x: from, width: to - from, y: box.top, height: box.bottom - box.top }));
    }
    return parts;
  }

  /** The reason why nothing is drawn. */
  absence() {
    if (this.axis === "time" && this.all.length && !this.rows.length) return "This replica does not have the times of these steps.";
    return this.known(this.rows) ? "All series are hidden." : (this.spec.nothing ?? "No data yet.");
  }

  /** A step without a value interrupts the line. `raw`: the values behind a smoothed line. */
  line(one, values, x, y, raw = false) {
    const stretches = [[]];
    this.rows.forEach((row, index) => {
      const value = values[index];
      if (value !== null && value !== undefined) stretches.at(-1).push([x(this.place(row)), value, row.closed]);
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
    const value = one.value(this.rows[index]) ?? null;
    const text = this.spec.format(value);
    return this.smooth && value !== null ? `${text} (${this.spec.format(this.lines.get(one.key)[index])})` : text;
  }

  places() {
    return this.rows.length;
  }

  nearest(px) {
    if (!this.rows.length || !this.x) return null;
    const sought = this.x.invert(px);
    let low = 0;
    let high = this.rows.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (this.place(this.rows[middle]) <= sought) low = middle;
      else high = middle;
    }
    return Math.abs(this.place(this.rows[high]) - sought) < Math.abs(this.place(this.rows[low]) - sought) ? high : low;
  }

  anchor(index) {
    const row = this.rows[index];
    const x = this.x(this.place(row));
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
    const values = this.drawn.filter((one) => one.value(row) !== undefined).map((one) => [one.label, this.value(one, index), one.colour]);
    // Under the pointer the reading is complete; in the other charts it has the values alone.
    const more = this.picked === null ? [] : [...(this.spec.more?.(row) ?? []), ...(row.first_at === undefined ? [] : [["time", moment(row.first_at)]])];
    return { title: `Step ${count(row.step)}${row.closed ? "" : " (open)"}`, rows: [...values, ...more], note: this.smooth && this.picked !== null ? "value (smoothed)" : "" };
  }
}

/** A shorter movement of the pointer is a click. */
const LEAST_DRAG_PX = 8;

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
