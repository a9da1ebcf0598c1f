// What controllers answer as text: JSON whose numbers stay the text they are (docs/format.md, 10.3).

import { decimal } from "./decimals.mjs";

const NUMBER = /^(-?)([0-9]{1,40})(?:\.([0-9]{1,40}))?(?:[eE]([+-]?[0-9]{1,3}))?$/;
const TOKEN = /[ \t\r\n]*(?:("(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*")|(-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)|(true|false|null)|([[\]{}:,]))/y;
const DEEPEST = 16;

/** The number in a text, or null. */
export function numberOf(text) {
  const match = NUMBER.exec(text);
  if (match === null || Math.abs(Number(match[4] ?? 0)) > 80) return null;
  const n = BigInt(`${match[2]}${match[3] ?? ""}`);
  return decimal(match[1] ? -n : n, (match[3] ?? "").length - Number(match[4] ?? 0));
}

/** The object of a JSON text, by name; numbers and texts are texts. Null: it is no object. */
export function jsonOf(data) {
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(data);
    const tokens = tokensOf(text);
    const found = valueOf(tokens, 0);
    return tokens.length === 0 && found instanceof Map ? found : null;
  } catch {
    return null;
  }
}

function tokensOf(text) {
  const form = new RegExp(TOKEN);
  const found = [];
  while (form.lastIndex < text.trimEnd().length) {
    const match = form.exec(text);
    if (match === null) throw new Error("no JSON");
    found.push(match);
  }
  return found;
}

function valueOf(tokens, depth) {
  const match = tokens.shift();
  if (match[1]) return JSON.parse(match[1]);
  if (match[2] || match[3]) return match[2] ?? { word: match[3] };
  if (depth === DEEPEST) throw new Error("too deep");
  if (match[4] === "[") return listOf(tokens, depth + 1);
  if (match[4] === "{") return objectOf(tokens, depth + 1);
  throw new Error("no JSON");
}

function listOf(tokens, depth) {
  const found = [];
  if (tokens[0][4] === "]") return tokens.shift() && found;
  for (;;) {
    found.push(valueOf(tokens, depth));
    const mark = tokens.shift()[4];
    if (mark === "]") return found;
    if (mark !== ",") throw new Error("no JSON");
  }
}

function objectOf(tokens, depth) {
  const found = new Map();
  if (tokens[0][4] === "}") return tokens.shift() && found;
  for (;;) {
    const name = tokens.shift()[1];
    if (!name || tokens.shift()[4] !== ":" || found.has(JSON.parse(name))) throw new Error("no JSON");
    found.set(JSON.parse(name), valueOf(tokens, depth));
    const mark = tokens.shift()[4];
    if (mark === "}") return found;
    if (mark !== ",") throw new Error("no JSON");
  }
}
