/** Formats of numbers and times, with a true minus sign, and a dash for unknown values. */

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const NONE = "–";

const minus = (text) => text.replace("-", "−");

export const count = (value) => (value === null || value === undefined ? NONE : minus(whole.format(value)));

export const fixed = (value, digits = 3) =>
  value === null || value === undefined ? NONE : minus(value.toFixed(digits));

export const signed = (value, digits = 3) =>
  value === null || value === undefined ? NONE : (value > 0 ? "+" : "") + minus(value.toFixed(digits));

export const percent = (value, digits = 0) =>
  value === null || value === undefined ? NONE : `${minus((value * 100).toFixed(digits))}%`;

export function short(value) {
  const size = Math.abs(value);
  if (size >= 1e6) return minus(`${trim(value / 1e6)}M`);
  if (size >= 1e4) return minus(`${trim(value / 1e3)}k`);
  return minus(size >= 100 || Number.isInteger(value) ? whole.format(value) : String(Number(value.toPrecision(3))));
}

const trim = (value) => String(Number(value.toPrecision(3)));

export function bytes(value) {
  if (value < 1024) return `${value} B`;
  const units = ["KiB", "MiB", "GiB", "TiB"];
  let size = value;
  let unit = -1;
  do {
    size /= 1024;
    unit += 1;
  } while (size >= 1024 && unit < units.length - 1);
  return `${trim(size)} ${units[unit]}`;
}

/** A duration in one unit: "4 s", "12 min", "3 h". */
export function span(seconds) {
  if (seconds < 60) return `${Math.max(0, Math.floor(seconds))} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400 * 2) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} days`;
}

export const moment = (seconds) => {
  const date = new Date(seconds * 1000);
  const day = date.toLocaleDateString("en-GB", { day: "numeric", month: "short", year: date.getFullYear() === new Date().getFullYear() ? undefined : "numeric" });
  return `${day}, ${date.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" })}`;
};

/** "3 s ago", and the date from two days on. */
export const ago = (seconds) => {
  const passed = Date.now() / 1000 - seconds;
  return passed < 86400 * 2 ? `${span(passed)} ago` : moment(seconds);
};

export const clock = (seconds) =>
  new Date(seconds * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

/** The label of a time on an axis whose labels are `size` seconds apart. */
export const timeLabel = (seconds, size) =>
  size >= 86_400
    ? new Date(seconds * 1000).toLocaleDateString("en-GB", { day: "numeric", month: "short" })
    : new Date(seconds * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", second: size < 60 ? "2-digit" : undefined });
