/** Answers as mathematics: LaTeX to MathML elements, built with createElement and text nodes. Text with unknown
 *  commands is shown unchanged. */

import { h, m, visible } from "../dom.js";
import { ACCENTS, DOUBLE, FENCES, FUNCTIONS, LETTERS, NOTHING, SIGNS, SPACES, STYLES, TEXTS } from "./names.js";
import { tokens, Unreadable } from "./tokens.js";

const DEEPEST = 24;
const MOST_NODES = 600;

class Builder {
  constructor(list) {
    this.list = list;
    this.at = 0;
    this.depth = 0;
    this.nodes = 0;
  }

  node(tag, props, ...children) {
    if (++this.nodes > MOST_NODES) throw new Unreadable("too much to typeset");
    return m(tag, props, ...children);
  }

  peek() {
    return this.list[this.at];
  }

  skipSpace() {
    while (this.peek()?.kind === "space") this.at += 1;
  }

  /** Everything up to a token that `stop` accepts, as one mrow. */
  row(stop) {
    if (++this.depth > DEEPEST) throw new Unreadable("nested too deep");
    const parts = [];
    while (this.peek() && !stop(this.peek())) {
      const part = this.scripted();
      if (part) parts.push(part);
    }
    this.depth -= 1;
    return parts.length === 1 ? parts[0] : this.node("mrow", null, parts);
  }

  /** An atom with the scripts that follow it. */
  scripted() {
    const base = this.atom();
    let sub = null;
    let sup = null;
    for (;;) {
      const kind = this.peek()?.kind;
      if (kind === "sup" && !sup) sup = this.argumentAfter();
      else if (kind === "sub" && !sub) sub = this.argumentAfter();
      else break;
    }
    if (!sub && !sup) return base;
    const first = base ?? this.node("mrow");
    if (sub && sup) return this.node("msubsup", null, first, sub, sup);
    return this.node(sub ? "msub" : "msup", null, first, sub ?? sup);
  }

  argumentAfter() {
    this.at += 1;
    return this.argument();
  }

  /** A braced group, or one token, as in LaTeX. */
  argument() {
    this.skipSpace();
    const token = this.peek();
    if (!token) throw new Unreadable("something is missing");
    if (token.kind === "number" && token.text.length > 1) {
      // \frac12 is 1 over 2.
      this.list.splice(this.at, 1, { kind: "number", text: token.text[0] }, { kind: "number", text: token.text.slice(1) });
    }
    return this.atom() ?? this.node("mrow");
  }

  atom() {
    const token = this.list[this.at++];
    switch (token.kind) {
      case "open": {
        const inside = this.row((t) => t.kind === "close");
        if (this.list[this.at++]?.kind !== "close") throw new Unreadable("a brace is not closed");
        return inside;
      }
      case "number":
        return this.node("mn", null, token.text);
      case "letter":
        return this.node("mi", null, token.text);
      case "sign":
        return this.sign(token.text);
      case "space":
        return null;
      case "command":
        return this.command(token.text);
      case "sup":
      case "sub":
        this.at -= 1;
        return this.node("mrow");
      default:
        throw new Unreadable("out of place");
    }
  }

  sign(text) {
    if (text === "'") return this.node("mo", null, "′");
    const shown = text === "-" ? "−" : text === "*" ? "∗" : text;
    return this.node("mo", "()[]{}|‖⟨⟩".includes(text) ? { stretchy: "false" } : null, shown);
  }

  command(name) {
    if (LETTERS.has(name)) return this.node("mi", null, LETTERS.get(name));
    if (SIGNS.has(name)) return this.sign(SIGNS.get(name));
    if (FUNCTIONS.has(name)) return this.node("mi", null, name);
    if (/^[dtc]?frac$/.test(name)) return this.node("mfrac", null, this.argument(), this.argument());
    if (/^[dt]?binom$/.test(name)) return this.binomial();
    if (name === "sqrt") return this.root();
    if (name === "begin") return this.environment();
    if (name === "left") return this.fenced();
    if (name === "right") throw new Unreadable("a right without its left");
    if (name === "pmod") return this.node("mrow", null, this.sign("("), this.node("mi", null, "mod"), this.gap("0.3em"), this.argument(), this.sign(")"));
    if (name === "not") return this.node("mrow", null, this.argument(), this.node("mo", null, "̸"));
    if (ACCENTS.has(name)) return this.node("mover", { accent: "true" }, this.argument(), this.node("mo", null, ACCENTS.get(name)));
    if (name === "underline") return this.node("munder", null, this.argument(), this.node("mo", null, "_"));
    if (TEXTS.has(name)) return this.node("mtext", null, this.words());
    if (STYLES.has(name)) return this.styled(STYLES.get(name));
    if (SPACES.has(name)) return this.gap("1em");
    if (NOTHING.has(name)) return null;
    throw new Unreadable("an unknown command");
  }

  gap(width) {
    return this.node("mspace", { width });
  }

  styled(style) {
    const inside = this.argument();
    if (style === "double" && DOUBLE.has(inside.textContent)) return this.node("mi", null, DOUBLE.get(inside.textContent));
    if (style === "bold") inside.setAttribute("class", "bold");
    return inside;
  }

  /** The text of a braced group, with spaces. */
  words() {
    this.skipSpace();
    if (this.peek()?.kind !== "open") throw new Unreadable("text without braces");
    let depth = 0;
    let text = "";
    do {
      const token = this.list[this.at++];
      if (!token) throw new Unreadable("a brace is not closed");
      if (token.kind === "open") depth += 1;
      else if (token.kind === "close") depth -= 1;
      else if (token.kind === "command") text += LETTERS.get(token.text) ?? SIGNS.get(token.text) ?? `\\${token.text}`;
      else text += token.kind === "space" ? "\u00A0" : token.text;
    } while (depth > 0);
    return text;
  }

  binomial() {
    const top = this.argument();
    const bottom = this.argument();
    return this.node("mrow", null, this.node("mo", null, "("), this.node("mfrac", { linethickness: "0" }, top, bottom), this.node("mo", null, ")"));
  }

  root() {
    this.skipSpace();
    if (this.peek()?.text === "[") {
      this.at += 1;
      const degree = this.row((t) => t.text === "]");
      if (this.list[this.at++]?.text !== "]") throw new Unreadable("a bracket is not closed");
      return this.node("mroot", null, this.argument(), degree);
    }
    return this.node("msqrt", null, this.argument());
  }

  fence() {
    this.skipSpace();
    const token = this.list[this.at++];
    if (token?.kind === "sign") return token.text === "." ? "" : token.text;
    if (token?.kind === "number" && token.text === ".") return "";
    if (token?.kind === "command" && SIGNS.has(token.text)) return SIGNS.get(token.text);
    throw new Unreadable("an unknown delimiter");
  }

  fenced() {
    const open = this.fence();
    const inside = this.row((t) => t.kind === "command" && t.text === "right");
    if (!this.peek()) throw new Unreadable("a left without its right");
    this.at += 1;
    return this.between(open, inside, this.fence());
  }

  between(open, inside, close) {
    const edge = (text) => (text ? this.node("mo", { fence: "true", stretchy: "true" }, text) : null);
    return this.node("mrow", null, edge(open), inside, edge(close));
  }

  environment() {
    const name = this.words();
    const fence = FENCES.get(name);
    if (!fence) throw new Unreadable("an unknown environment");
    if (name === "array") this.words();
    const ends = (t) => t.kind === "amp" || t.kind === "row" || (t.kind === "command" && t.text === "end");
    const rows = [[]];
    for (;;) {
      rows.at(-1).push(this.node("mtd", null, this.row(ends)));
      const token = this.list[this.at++];
      if (!token) throw new Unreadable("an environment is not closed");
      if (token.kind === "command") break;
      if (token.kind === "row") rows.push([]);
    }
    if (this.words() !== name) throw new Unreadable("environments that cross");
    const table = this.node("mtable", null, rows.filter((row) => row.some((cell) => cell.textContent)).map((row) => this.node("mtr", null, row)));
    return this.between(fence[0], table, fence[1]);
  }
}

/** True if a text without commands is mathematics rather than words. */
function looksMathematical(text) {
  if (!/\S/.test(text)) return false;
  const rest = text.replace(/\\[A-Za-z]+\*?\s*(?:\{[^{}]*\})?/g, " ");
  const words = rest.match(/[A-Za-z]{3,}/g) ?? [];
  return words.every((word) => FUNCTIONS.has(word)) && !/[\u0000-\u0008\u000B-\u001F]/.test(text);
}

/** An element for an answer: mathematics if it can be parsed, else the text. */
export function typeset(text) {
  if (text === null || text === undefined) return h("span", { class: "shown" }, h("span", { class: "none" }, "none found"));
  const seen = visible(text);
  if (seen === text && looksMathematical(text)) {
    try {
      const builder = new Builder(tokens(text));
      const inside = builder.row(() => false);
      const math = m("math", { alttext: text }, inside);
      if (math.textContent.trim()) return h("span", { class: "shown", title: text }, math);
    } catch (error) {
      if (!(error instanceof Unreadable)) throw error;
    }
  }
  return h("span", { class: "shown", title: seen }, h("span", { class: "plain" }, seen || "(empty)"));
}
