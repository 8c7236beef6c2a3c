/** The steps that the charts of a page show: all, the newest, or from one step to another. The address has them as `range`. */

import { announce, h, segments } from "./dom.js";
import { address, setFilter } from "./address.js";
import { count } from "./format.js";

const NEWEST = [["all", "All steps"], ["200", "Last 200"], ["50", "Last 50"]];
const FROM_TO = /^(\d{1,15})-(\d{1,15})$/;

/** {root, of, zoom}: the buttons, the shown ones of some rows, and a function that shows the steps `first` to `last`.
 *  `changed` is called after each change. */
export function rangeControl(changed) {
  const value = address().query.get("range") ?? "all";
  let shown = NEWEST.some(([key]) => key === value) || FROM_TO.test(value) ? value : "all";
  const root = h("div", { class: "range" });

  function set(range) {
    shown = range;
    setFilter("range", range, "all");
    draw();
    changed();
  }

  function draw() {
    const steps = FROM_TO.exec(shown);
    const text = steps && `Steps ${count(Number(steps[1]))} to ${count(Number(steps[2]))}`;
    const back = steps && h("button", { type: "button", class: "button", title: "Show all steps", "aria-label": `${text}: show all steps`, on: { click: () => set("all") } }, `${text} ×`);
    root.replaceChildren(segments("Steps shown", NEWEST, shown, set), back ?? "");
  }

  draw();
  return {
    root,
    of(rows) {
      if (shown === "all") return rows;
      const steps = FROM_TO.exec(shown);
      return steps ? rows.filter((row) => row.step >= Number(steps[1]) && row.step <= Number(steps[2])) : rows.slice(-Number(shown));
    },
    zoom(first, last) {
      if (first === null) return set("all");
      set(`${Math.min(first, last)}-${Math.max(first, last)}`);
      announce(`Steps ${count(first)} to ${count(last)}`);
    },
  };
}
