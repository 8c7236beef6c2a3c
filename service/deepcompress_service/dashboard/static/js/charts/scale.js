/** Scales from numbers to pixels, and ticks at round numbers. */

/** A linear scale from [d0, d1] to [r0, r1]. */
export function linear(d0, d1, r0, r1) {
  const slope = d1 === d0 ? 0 : (r1 - r0) / (d1 - d0);
  const scale = (value) => r0 + (value - d0) * slope;
  scale.domain = [d0, d1];
  scale.invert = (pixel) => (slope === 0 ? d0 : d0 + (pixel - r0) / slope);
  return scale;
}

/** About `count` round numbers within [low, high], integers if `whole`. */
export function ticks(low, high, count, whole = false) {
  if (!(high > low)) return [low];
  const raw = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((k) => k * power).find((size) => size >= raw * 0.999);
  const size = whole ? Math.max(1, Math.round(step)) : step;
  const result = [];
  for (let k = Math.ceil(low / size - 1e-9); k * size <= high + size * 1e-9; k += 1) result.push(Number((k * size).toPrecision(12)));
  return result;
}

/** [low, high] with a margin around the values; `around` is the width if all values are equal. */
export function extent(values, around, margin = 0.06) {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (low > high) return null;
  if (high - low < around * 1e-6) return [low - around / 2, high + around / 2];
  const more = (high - low) * margin;
  return [low - more, high + more];
}

const DAY_S = 86_400;
const TIME_STEPS_S = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, DAY_S, 2 * DAY_S, 7 * DAY_S, 28 * DAY_S];

/** {at, size}: about `count` round times of this place within [low, high], in seconds since 1970, and their distance. */
export function timeTicks(low, high, count) {
  const raw = (high - low) / Math.max(1, count);
  const size = TIME_STEPS_S.find((step) => step >= raw) ?? Math.ceil(raw / DAY_S) * DAY_S;
  const offset = 60 * new Date(low * 1000).getTimezoneOffset();
  const at = [];
  for (let k = Math.ceil((low - offset) / size); k * size + offset <= high; k += 1) at.push(k * size + offset);
  return { at, size };
}
