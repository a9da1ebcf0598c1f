// A device profile, as far as decoding and counting need it (docs/format.md, 10.1).

import { Refused, isInteger, isObject, isText } from "./bytes.mjs";
import { compare, decimal, decimalOf, times } from "./decimals.mjs";
import { profileDocument, rowOf, siteOf } from "./site.mjs";

const UNITS = {
  _w: "W", _wh: "Wh", _varh: "varh", _var: "var", _va: "VA", _v: "V", _a: "A", _hz: "Hz", _kg: "kg", _pa: "Pa",
  _k: "K", _m3: "m3", _dm3: "dm3", _m3_s: "m3/s", _w_m2: "W/m2", _m_s: "m/s", _m: "m", _wh_m2: "Wh/m2",
  _wh_kg: "Wh/kg", _wh_per_w: "Wh/W", _w_per_w: "W/W", _kw_per_ton: "kW/ton", _ah: "Ah", _pa_s: "Pa/s",
  _j_m3: "J/m3", _s: "s", _ratio: "1", _count: "1", _state: "", _text: "", _unstated: "",
};
const PROTOCOLS = {
  modbus: "address", sunspec: "model", opcua: "node", elektronikon: "selector", sigma_control: "",
};
const NUMBERS = ["minimum", "maximum", "quantum", "maximum_rate", "stuck_s", "max_age_s"];
const WORDS = { 16: 1, 32: 2, 64: 4 };

export function unitOf(name) {
  const fits = Object.keys(UNITS).filter((ending) => name.endsWith(ending));
  if (!/^[a-z][a-z0-9_]{0,62}$/.test(name) || fits.length === 0) return null;
  return UNITS[fits.reduce((one, other) => (other.length > one.length ? other : one))];
}

const bad = (what) => new Refused("bad_document", what);

function exactOf(value, what) {
  const found = isText(value) || isInteger(value) ? decimalOf(value) : null;
  if (found === null) throw bad(`${what} is no number`);
  return found;
}

/** The profile approved for a tree, with what the site says of the device. */
export const profileOf = (tree, documents) =>
  profileFrom(profileDocument(tree, documents), rowOf(siteOf(tree, documents), tree.device));

/** A profile, with a device's row of a site document. */
export function profileFrom(content, row) {
  const needed = ["model", "kind", "protocol", "source", "confidence", "points"];
  if (!isObject(content) || needed.some((name) => !Object.hasOwn(content, name))) throw bad("no profile");
  if (!Object.hasOwn(PROTOCOLS, content.protocol)) throw bad("no protocol");
  if (!Array.isArray(content.points) || content.points.length === 0) throw bad("no points");
  const accepted = Array.isArray(row.accept_disputed) && row.accept_disputed.every(isText) ? row.accept_disputed : [];
  const points = content.points.map((point) => pointOf(content, point, accepted));
  if (new Set(points.map((point) => point.name)).size !== points.length) throw bad("a name twice");
  const most = row.maximum_power_w;
  if (isInteger(most) && most > 0 && most <= 1e12) points.forEach((point) => bound(point, most));
  return { ...content, points, rules: content.rules ?? [], checks: content.checks ?? [] };
}

function pointOf(content, point, accepted) {
  if (!isObject(point) || !isText(point.name)) throw bad("no point");
  const unit = unitOf(point.name);
  if (unit === null) throw bad(`${point.name} has no unit`);
  const found = { ...point, unit, counter: point.counter ?? false, disputed: point.disputed ?? "" };
  const key = PROTOCOLS[content.protocol];
  if (key && !Object.hasOwn(point, key)) throw bad(`${point.name} has no ${key}`);
  found.scale = exactOf(point.scale ?? 1, "scale");
  if (found.scale.n === 0n) throw bad("a scale of 0");
  if (content.protocol !== "sunspec") found.offset = exactOf(point.offset ?? 0, "offset");
  for (const name of NUMBERS) {
    if (point[name] !== undefined && point[name] !== null) found[name] = exactOf(point[name], name);
  }
  found.units = (point.units ?? []).map(({ unit: stated, scale = 1, offset = 0 }) => (
    { unit: stated, scale: exactOf(scale, "scale"), offset: exactOf(offset, "offset") }));
  if (accepted.includes(point.name)) found.disputed = "";
  if (["modbus", "sunspec"].includes(content.protocol)) found.words = wordsOf(point);
  if (content.protocol === "modbus") {
    found.sentinels = point.sentinels ?? content.sentinels?.[point.type] ?? [];
    found.order = point.byte_order ?? (point.word_order === "little" ? "CDAB" : "ABCD");
  }
  return found;
}

function wordsOf(point) {
  const words = point.type === "string" ? point.length : point.type === "bit" ? 1 : WORDS[/\d+$/.exec(point.type)?.[0]];
  if (!isInteger(words)) throw bad(`${point.name} has no type`);
  return words;
}

function bound(point, most) {
  if (!point.counter || point.unit !== "Wh") return;
  const rate = decimal((BigInt(most) * 10n ** 9n + 3599n) / 3600n, 9);
  if (!point.maximum_rate || compare(rate, point.maximum_rate) < 0) point.maximum_rate = rate;
}

/** The scale of a counter's modulus: raw counts into the point's unit. */
export const scaledBy = (count, point) => times(decimal(BigInt(count)), point.scale);
