/** The base of all charts: a panel with heading, legend and table, a drawing that fits the width, and selection
 *  of points by pointer and keyboard. */

import { h, s, announce } from "../dom.js";
import { download } from "../csv.js";

const MOST_TABLE_ROWS = 300;

export class Chart {
  /** `spec`: {title, hint, height, tools, file, summary: () => text, table: () => {head, rows}, csv: () => {head, rows}}.
   *  `file` is the beginning of the name of the CSV file. */
  constructor(spec) {
    this.spec = spec;
    this.width = 0;
    this.height = spec.height ?? (matchMedia("(max-width: 640px)").matches ? 190 : 240);
    this.picked = null;
    /** Called with each picked step, or null: see crosshair.js. */
    this.picks = () => {};
    this.hiddenSeries = new Set();
    this.svg = s("svg", { class: "chart", height: this.height, "aria-hidden": "true", focusable: "false" });
    this.over = s("g", { class: "over" });
    this.tip = h("div", { class: "tip", hidden: true });
    this.plot = h(
      "div",
      {
        class: "plot",
        tabindex: "0",
        role: "group",
        "aria-roledescription": "chart",
        "aria-label": spec.title,
        on: {
          pointermove: (event) => this.pointAt(event),
          pointerdown: (event) => this.pointAt(event),
          // A finger leaves the screen after each touch; what it read stays until another place is touched.
          pointerleave: (event) => event.pointerType !== "touch" && this.pick(null),
          keydown: (event) => this.key(event),
          blur: () => this.pick(null),
        },
      },
      this.svg,
      this.tip,
    );
    this.legend = h("div", { class: "legend", role: "group", "aria-label": `${spec.title}: series` });
    this.tableBody = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${spec.title}, as a table` });
    this.details = h("details", { class: "as-table", on: { toggle: () => this.fillTable() } }, h("summary", null, "As a table"), this.tableBody);
    this.hint = h("p", { class: "hint" }, spec.hint ?? "");
    this.root = h(
      "section",
      { class: spec.wide ? "panel wide" : "panel", "aria-label": spec.title },
      h("div", { class: "panel-head" }, h("h2", null, spec.title), spec.tools, this.hint),
      this.legend,
      this.plot,
      h("div", { class: "below" }, this.details, h("button", { type: "button", class: "quiet", "aria-label": `${spec.title}: download as CSV`, on: { click: () => this.save() } }, "CSV")),
    );
    this.observer = new ResizeObserver(([entry]) => {
      const width = Math.round(entry.contentRect.width);
      if (width !== this.width && width > 0) {
        this.width = width;
        this.redraw();
      }
    });
    this.observer.observe(this.plot);
  }

  save() {
    const { head, rows } = this.spec.csv();
    download(`${this.spec.file ?? "deepcompress"}-${this.spec.title}`, head, rows);
  }

  close() {
    this.observer.disconnect();
  }

  /** Draw new data, and update the summary for screen readers. */
  refresh() {
    this.plot.setAttribute("aria-label", `${this.spec.title}. ${this.spec.summary()} Use the arrow keys to read it point by point.`);
    this.redraw();
    this.fillTable();
  }

  redraw() {
    if (!this.width) return;
    this.svg.setAttribute("viewBox", `0 0 ${this.width} ${this.height}`);
    this.svg.replaceChildren(...this.draw(), this.over);
    this.showReading();
  }

  fillTable() {
    if (!this.details.open) return;
    const { head, rows } = this.spec.table();
    const shown = rows.slice(0, MOST_TABLE_ROWS);
    const cells = (row, tag, scope) => h("tr", null, row.map((cell, i) => h(i === 0 && tag === "td" ? "th" : tag, { scope: tag === "th" ? scope : i === 0 ? "row" : null }, cell)));
    const caption = h("caption", { class: "visually-hidden" }, this.spec.title);
    this.tableBody.replaceChildren(h("table", null, caption, h("thead", null, cells(head, "th", "col")), h("tbody", null, shown.map((row) => cells(row, "td")))));
    if (rows.length > shown.length) this.tableBody.append(h("p", { class: "hint" }, `The first ${shown.length} of ${rows.length} rows.`));
  }

  /** Legend entries: [{key, label, shape}], each a button that hides its series. */
  setLegend(entries) {
    const known = entries.map((entry) => `${entry.key} ${entry.label}`).join();
    if (known === this.legendKeys) return;
    this.legendKeys = known;
    this.legend.replaceChildren(
      ...entries.map(({ key, label, shape }) => {
        const button = h("button", { type: "button", "aria-pressed": String(!this.hiddenSeries.has(key)) }, s("svg", { viewBox: "0 0 18 12", "aria-hidden": "true" }, shape), label);
        button.addEventListener("click", () => {
          if (!this.hiddenSeries.delete(key)) this.hiddenSeries.add(key);
          button.setAttribute("aria-pressed", String(!this.hiddenSeries.has(key)));
          this.pick(null);
          this.redraw();
        });
        return button;
      }),
    );
  }

  pointAt(event) {
    const box = this.plot.getBoundingClientRect();
    this.pick(this.nearest(event.clientX - box.left, event.clientY - box.top));
  }

  key(event) {
    const count = this.places();
    if (!count) return;
    const now = this.picked;
    const to = {
      ArrowRight: now === null ? 0 : Math.min(count - 1, now + 1),
      ArrowLeft: now === null ? count - 1 : Math.max(0, now - 1),
      Home: 0,
      End: count - 1,
      PageDown: Math.min(count - 1, (now ?? 0) + 10),
      PageUp: Math.max(0, (now ?? 0) - 10),
      Escape: null,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.pick(to);
    if (to !== null) {
      const { title, rows } = this.reading(to);
      announce(`${title}: ${rows.map(([name, value]) => `${name} ${value}`).join(", ")}`);
    }
  }

  pick(index) {
    if (index === this.picked) return;
    this.picked = index;
    this.showReading();
    this.picks(this.stepOf(index));
  }

  /** The step of a place; null in charts whose places are no steps. */
  stepOf() {
    return null;
  }

  /** The place to read: the picked one, or that of a step picked in another chart; null for none. */
  get read() {
    return this.picked;
  }

  /** Draw the mark at the place that is read, and show its values. */
  showReading() {
    if (this.picked >= this.places()) this.picked = null;
    const index = this.read;
    this.over.replaceChildren();
    this.tip.hidden = true;
    if (index === null || !this.box) return;
    const { x, y, marks } = this.anchor(index);
    this.over.append(...marks);
    const { title, rows, note } = this.reading(index);
    if (!rows.length) return;
    const line = ([name, value, colour]) => h("div", null, h("span", null, colour ? h("i", { class: `swatch c-${colour}` }) : "", name), h("span", null, value));
    this.tip.replaceChildren(note ? h("small", null, note) : "", h("b", null, title), ...rows.map(line));
    this.tip.hidden = false;
    this.tip.style.maxWidth = this.picked === null ? `${Math.max(x, this.width - x) - 20}px` : "";
    if (this.picked === null) {
      // A reading of another chart's step is placed without measuring it: many charts are marked at each movement.
      this.tip.style.transform = x > this.width / 2 ? `translate(calc(${Math.round(x - 14)}px - 100%), 0)` : `translate(${Math.round(x + 14)}px, 0)`;
      return;
    }
    const size = this.tip.getBoundingClientRect();
    const left = x + 14 + size.width > this.width ? x - 14 - size.width : x + 14;
    const top = Math.min(Math.max(0, y - size.height / 2), this.height - size.height);
    this.tip.style.transform = `translate(${Math.round(Math.max(0, left))}px, ${Math.round(Math.max(0, top))}px)`;
  }

  /** Grid lines and labels for both axes inside `box` {left, right, top, bottom}. */
  axes(box, x, y, { xTicks, yTicks, xFormat, yFormat, xTitle }) {
    const parts = [];
    for (const tick of yTicks) {
      const place = Math.round(y(tick)) + 0.5;
      parts.push(s("line", { class: "grid-line", x1: box.left, x2: box.right, y1: place, y2: place }));
      parts.push(s("text", { x: box.left - 8, y: place + 4, "text-anchor": "end" }, yFormat(tick)));
    }
    parts.push(s("line", { class: "base-line", x1: box.left, x2: box.right, y1: box.bottom + 0.5, y2: box.bottom + 0.5 }));
    for (const tick of xTicks) {
      parts.push(s("text", { x: x(tick), y: box.bottom + 17, "text-anchor": "middle" }, xFormat(tick)));
    }
    if (xTitle) parts.push(s("text", { class: "axis-title", x: box.right, y: box.bottom + 33, "text-anchor": "end" }, xTitle));
    return parts;
  }

  nothing(text) {
    return [s("text", { class: "note", x: this.width / 2, y: this.height / 2, "text-anchor": "middle" }, text)];
  }
}
