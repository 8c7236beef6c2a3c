/** Tokenizer of LaTeX in answers. Nothing is executed. */

export class Unreadable extends Error {}

const LONGEST = 400;
const WORD = /[A-Za-z]/;
const DIGIT = /[0-9]/;

/** Tokens of `text`: {kind, text}, with kinds command, open, close, sup, sub, amp, row, number, letter, sign, space. */
export function tokens(text) {
  if (text.length > LONGEST) throw new Unreadable("too long to typeset");
  const result = [];
  const add = (kind, value) => result.push({ kind, text: value });
  let at = 0;
  while (at < text.length) {
    const char = String.fromCodePoint(text.codePointAt(at));
    if (char === "\\") {
      at = command(text, at, add);
      continue;
    }
    if (DIGIT.test(char) || (char === "." && DIGIT.test(text[at + 1] ?? ""))) {
      // Groups of three digits keep their commas: 1,000 is one number, (1,2) is two.
      const number = /^(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)?(?:\.\d+)?/.exec(text.slice(at))[0] || char;
      add("number", number);
      at += number.length;
      continue;
    }
    if (/\s/.test(char)) add("space", " ");
    else if (char === "{") add("open", char);
    else if (char === "}") add("close", char);
    else if (char === "^") add("sup", char);
    else if (char === "_") add("sub", char);
    else if (char === "&") add("amp", char);
    else if (char === "~") add("space", " ");
    else if (WORD.test(char)) add("letter", char);
    else if (/\p{M}/u.test(char)) throw new Unreadable("a mark of its own");
    else if (char !== "$") add(/[\p{L}]/u.test(char) ? "letter" : "sign", char);
    at += char.length;
  }
  return result;
}

function command(text, at, add) {
  const name = /^[A-Za-z]+\*?/.exec(text.slice(at + 1));
  if (name) {
    add("command", name[0]);
    return at + 1 + name[0].length;
  }
  const char = text[at + 1];
  if (char === undefined) throw new Unreadable("ends in a backslash");
  if (char === "\\") add("row", "\\\\");
  else if (",;:! ".includes(char)) add("space", " ");
  else if ("()[]".includes(char)) add("space", "");
  else if ("{}%$#&_|".includes(char)) add("sign", char === "|" ? "‖" : char);
  else throw new Unreadable("an unknown command");
  return at + 2;
}
