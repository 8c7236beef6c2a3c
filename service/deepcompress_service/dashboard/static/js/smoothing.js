/** Smoothing of lines over steps, and its control. */

import { h } from "./dom.js";
import { filter, setFilter } from "./address.js";

/** Exponential moving average with weight `weight` on the past, without bias to the first value (as in TensorBoard).
 *  Missing values stay missing and change nothing. */
export function smoothed(values, weight) {
  let sum = 0;
  let norm = 0;
  return values.map((value) => {
    if (value === null || value === undefined || !weight) return value;
    sum = weight * sum + (1 - weight) * value;
    norm = weight * norm + (1 - weight);
    return sum / norm;
  });
}

const STEPS = ["0", "0.3", "0.5", "0.6", "0.7", "0.8", "0.9", "0.95", "0.98"];

/** A slider. `change(weight)` is called with each new weight; `value` is the weight in the address. */
export function smoothingControl(change) {
  const value = filter("smooth", STEPS, "0");
  const shown = h("output", { class: "range-value" });
  const slider = h("input", { type: "range", min: 0, max: STEPS.length - 1, step: 1, value: STEPS.indexOf(value), "aria-label": "Smoothing" });
  const show = () => {
    const weight = STEPS[slider.value];
    shown.textContent = weight === "0" ? "off" : weight;
    slider.setAttribute("aria-valuetext", weight === "0" ? "off" : weight);
    return weight;
  };
  slider.addEventListener("input", () => {
    const weight = show();
    setFilter("smooth", weight, "0");
    change(Number(weight));
  });
  show();
  return { root: h("label", { class: "control" }, h("span", null, "Smoothing"), slider, shown), value: Number(value) };
}
