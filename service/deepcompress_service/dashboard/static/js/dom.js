/** Functions that build elements. All text becomes text nodes, never markup; the page's policy (Trusted Types)
 *  enforces this everywhere. */

const SVG = "http://www.w3.org/2000/svg";
const MATHML = "http://www.w3.org/1998/Math/MathML";

function fill(element, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") {
      for (const [type, listener] of Object.entries(value)) element.addEventListener(type, listener);
    } else {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
  return element;
}

/** An HTML element: `h("p", {class: "x", on: {click}}, "text", child)`. */
export const h = (tag, props, ...children) => fill(document.createElement(tag), props, children);

/** An SVG element. */
export const s = (tag, props, ...children) => fill(document.createElementNS(SVG, tag), props, children);

/** A MathML element. */
export const m = (tag, props, ...children) => fill(document.createElementNS(MATHML, tag), props, children);

/** Announce a text to screen readers. */
export function announce(text) {
  document.getElementById("announcement").textContent = text;
}

const HIDDEN = /[\u0000-\u0008\u000B-\u001F\u007F-\u009F\u00AD\u061C\u180E\u200B-\u200F\u2028-\u202E\u2060-\u206F\uFEFF\uFFF9-\uFFFB]/g;

const STACKED = /\p{M}{4,}/gu;

/** Replace invisible characters by visible signs: control characters, and those that reorder or hide text.
 *  Texts from requests are not trusted. */
export function visible(text) {
  const flat = text.replace(STACKED, (marks) => `${marks.slice(0, 3)}⟨${marks.length - 3} marks more⟩`);
  return flat.replace(HIDDEN, (char) => {
    const code = char.codePointAt(0);
    if (code < 0x20) return String.fromCodePoint(0x2400 + code);
    return `⟨U+${code.toString(16).toUpperCase().padStart(4, "0")}⟩`;
  });
}

/** A row of buttons, one of which is pressed. `options` are [value, label]. */
export function segments(label, options, value, choose) {
  const buttons = options.map(([key, text]) =>
    h("button", { type: "button", "aria-pressed": String(key === value), on: { click: () => set(key) } }, text),
  );
  function set(key) {
    buttons.forEach((button, index) => button.setAttribute("aria-pressed", String(options[index][0] === key)));
    choose(key);
  }
  return h("div", { class: "segments", role: "group", "aria-label": label }, buttons);
}
