// Canonical JSON, base64, numbers in text, digests (docs/format.md, section 2). Node >= 18, no packages.

import { createHash } from "node:crypto";

/** A finding: something does not hold. */
export class Refused extends Error {
  constructor(code, what) {
    super(`${code}: ${what}`);
    this.code = code;
  }
}

/** A part that this verifier cannot judge: it answers 2 unless another part is refuted. */
export class Undecided extends Error {}

export const sha256 = (...parts) => {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest();
};
export const digest = (data) => sha256(data).toString("hex");
export const isText = (value) => typeof value === "string";
export const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
export const isInteger = (value) => Number.isSafeInteger(value);
export const equal = (one, other) => write(one) === write(other);
export const hasKeys = (value, names) =>
  isObject(value) && equal(Object.keys(value).sort(), [...names].sort());
export const byCode = (one, other) => (one < other ? -1 : one > other ? 1 : 0);

const HALF = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/;
const DEEPEST = 500;

/** The canonical text of a value, as far as it has one. */
export function write(value) {
  if (Array.isArray(value)) return `[${value.map(write).join(",")}]`;
  if (isObject(value)) {
    const names = Object.keys(value).sort();
    return `{${names.map((name) => `${JSON.stringify(name)}:${write(value[name])}`).join(",")}}`;
  }
  return JSON.stringify(value) ?? "undefined";
}

export const writeBytes = (value) => Buffer.from(write(value), "utf8");

/** The value of canonical bytes; any other form is `not_canonical`. */
export function parse(data) {
  const bytes = Buffer.from(data);
  try {
    checkCount(bytes);
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    const value = JSON.parse(text);
    checkValue(value, 0);
    if (write(value) === text) return value;
  } catch (error) {
    throw new Refused("not_canonical", String(error.message).slice(0, 100));
  }
  throw new Refused("not_canonical", "JSON in another form");
}

function checkCount(bytes) {
  const most = Math.max(250_000, Math.floor(bytes.length / 64));
  if (bytes.length <= 2 * most) return;
  let found = 0;
  for (let i = 0, inside = false; i < bytes.length; i++) {
    const byte = bytes[i];
    if (inside) {
      if (byte === 0x5c) i++;
      else if (byte === 0x22) inside = false;
    } else if (byte === 0x22) inside = true;
    else if (byte === 0x2c || byte === 0x5b || byte === 0x7b) found++;
  }
  if (found > most) throw new Error("too many values");
}

function checkValue(value, depth) {
  if (depth > DEEPEST) throw new Error("nested too deeply");
  if (typeof value === "number" && !Number.isSafeInteger(value)) throw new Error("no small integer");
  if (isText(value) && HALF.test(value)) throw new Error("half a character");
  if (Array.isArray(value)) for (const item of value) checkValue(item, depth + 1);
  else if (isObject(value)) {
    for (const name of Object.keys(value)) {
      checkValue(name, depth + 1);
      checkValue(value[name], depth + 1);
    }
  }
}

/** The bytes of canonical base64. */
export function decode64(text) {
  if (isText(text)) {
    const data = Buffer.from(text, "base64");
    if (data.toString("base64") === text) return data;
  }
  throw new Refused("bad_base64", String(text).slice(0, 40));
}

export const isDigest = (text) => isText(text) && /^[0-9a-f]{64}$/.test(text);
export const isId = (text) => isText(text) && /^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$/.test(text);

/** The integer of a u64 text, or null. */
export function u64(text) {
  if (!isText(text) || !/^(0|[1-9][0-9]{0,19})$/.test(text)) return null;
  const number = BigInt(text);
  return number < 2n ** 64n ? number : null;
}

/** A time in us as a number; later than numbers reach it is undecided. */
export function timeOf(text, code = "bad_leaf") {
  const found = u64(text);
  if (found === null || found >= 2n ** 60n) throw new Refused(code, `no time: ${String(text).slice(0, 40)}`);
  if (found > BigInt(Number.MAX_SAFE_INTEGER)) throw new Undecided("a time after the year 2255");
  return Number(found);
}

/** Site, device and epoch of a tree's origin, or null. */
export function originOf(text) {
  const parts = isText(text) ? text.split("/") : [];
  const [head, site, device, epoch] = parts;
  const fits = parts.length === 4 && head === "joulemark" && isId(site) && isId(device);
  return fits && /^[1-9][0-9]{0,8}$/.test(epoch) ? { site, device, epoch: Number(epoch) } : null;
}
