// From raw words to decimal text (docs/format.md, 10.2 and 10.3).

import { compare, decimal, number, plain, plus, scaled, shortest, times } from "./decimals.mjs";
import { jsonOf, numberOf } from "./answers.mjs";

const LAMPS = ["led_error", "led_com_error", "led_maintenance", "led_voltage", "led_load", "led_idle", "led_remote",
  "led_clock", "led_power_on"];
const NODES = {
  bool: [1, 1], int8: [2, 1], uint8: [3, 1], int16: [4, 2], uint16: [5, 2], int32: [6, 4], uint32: [7, 4],
  int64: [8, 8], uint64: [9, 8], float32: [10, 4], float64: [11, 8],
};
const EPOCH_TICKS = 116_444_736_000_000_000n;

/** Values and codes by point. */
export function decodeAll(profile, responses) {
  const [values, quality] = [{}, {}];
  const known = responses[0]?.table === "node"
    ? [...new Map(responses.map((response) => [response.address, response])).values()] : responses;
  profile.points.forEach((point, index) => {
    const data = cut(profile, point, index, known);
    const [value, code] = data === null ? [null, point.every_s ? "not_due" : "missing"] : decodeOne(profile, point, data);
    if (value !== null) values[point.name] = value;
    if (code !== null) quality[point.name] = code;
  });
  return { values, quality };
}

// --- which bytes ---------------------------------------------------------------------------------

function cut(profile, point, index, responses) {
  switch (profile.protocol) {
    case "modbus":
      return cutRegisters(point, responses);
    case "sunspec":
      return cutModel(point, responses);
    case "opcua":
      return responses.find(({ table, address }) => table === "node" && address === index)?.data ?? null;
    default:
      return cutTexts(point, responses);
  }
}

function cutRegisters(point, responses) {
  const factor = point.scale_register?.address ?? null;
  const first = factor === null ? point.address : Math.min(point.address, factor);
  const last = Math.max(point.address + point.words, factor === null ? 0 : factor + 1);
  const found = responses.find(({ table, address, data }) => table === point.table && address <= first
    && 2 * (last - address) <= data.length);
  return found ? taken(found.data, point.address - found.address, point.words, factor === null ? null
    : factor - found.address) : null;
}

function taken(data, start, words, factor) {
  const own = data.subarray(2 * start, 2 * (start + words));
  return factor === null ? own : Buffer.concat([own, data.subarray(2 * factor, 2 * factor + 2)]);
}

function cutModel(point, responses) {
  const factor = point.scale_offset ?? null;
  const end = Math.max(point.offset + point.words, factor === null ? 0 : factor + 1);
  const found = responses.find(({ table, address, data }) => table === "sunspec" && address === point.model
    && data.length >= 2 * end);
  if (!found || found.data.readUInt16BE(0) !== point.model || found.data.readUInt16BE(2) + 2 < end) return null;
  return taken(found.data, point.offset, point.words, factor);
}

function cutTexts(point, responses) {
  const places = point.selector ? [point.selector, point.unit_selector].filter(Boolean)
    .map((selector) => ["selector", Number.parseInt(selector, 16)])
    : [point.led ? ["led", LAMPS.indexOf(point.led)] : ["object", point.object]];
  const found = places.map(([table, address]) => responses.findLast((r) => r.table === table && r.address === address));
  return found.includes(undefined) ? null : Buffer.concat(found.map(({ data }) => data));
}

// --- the number ----------------------------------------------------------------------------------

const READERS = {
  modbus: readRegisters, sunspec: readModel, opcua: readNode, elektronikon: readSelectors, sigma_control: readObject,
};

function decodeOne(profile, point, data) {
  const [value, code] = READERS[profile.protocol](point, data);
  if (value === null) return [null, code];
  const text = plain(value);
  if (code !== null) return [text, code];
  if (point.minimum && compare(value, point.minimum) < 0) return [text, "range"];
  if (point.maximum && compare(value, point.maximum) > 0) return [text, "range"];
  return [text, point.disputed ? "disputed" : null];
}

const unsigned = (data) => (data.length ? BigInt(`0x${data.toString("hex")}`) : 0n);
const signed = (data) => BigInt.asIntN(8 * data.length, unsigned(data));
const finite = (value, code = null) =>
  plain(value).length > 308 && !Number.isFinite(number(value)) ? [null, "nan"] : [value, code];

function arranged(point, data) {
  const n = data.length;
  const mask = { ABCD: 0, BADC: 1, CDAB: n - 2, DCBA: n - 1, CDABGHEF: 2, EFGHABCD: 4, GHEFCDAB: 6 }[point.order];
  return Buffer.from(data.map((_, i) => data[i ^ mask]));
}

/** Whether a counter would count fractions with this power of ten. */
const isFraction = (point, exponent) =>
  point.counter && exponent < 0 && point.scale.n % 10n ** BigInt(-exponent) !== 0n;

function readRegisters(point, data) {
  if (point.type === "string") return [null, "text"];
  const size = 2 * point.words;
  let exponent = 0;
  if (point.scale_register) {
    const factor = data.subarray(size);
    exponent = ["BADC", "DCBA"].includes(point.order) ? factor.readInt16LE(0) : factor.readInt16BE(0);
    if (Math.abs(exponent) > 10 || isFraction(point, exponent)) return [null, "scale"];
  }
  const bytes = arranged(point, data.subarray(0, size));
  if (point.sentinels.some((raw) => BigInt(raw) === unsigned(bytes))) return [null, "sentinel"];
  const found = registerNumber(point, bytes);
  return found === null ? [null, "nan"] : finite(plus(times(scaled(found, exponent), point.scale), point.offset));
}

function registerNumber(point, bytes) {
  if (point.type.startsWith("float")) return shortest(bytes);
  if (point.type.startsWith("bcd")) {
    const digits = bytes.toString("hex");
    return /^[0-9]+$/.test(digits) ? decimal(BigInt(digits)) : null;
  }
  if (point.type === "bit") return decimal((unsigned(bytes) >> BigInt(point.bit)) & 1n);
  return decimal(point.type.startsWith("int") ? signed(bytes) : unsigned(bytes));
}

function readModel(point, data) {
  if (point.type === "string") return [null, "text"];
  const bytes = data.subarray(0, 2 * point.words);
  const exponent = data.length > bytes.length ? data.readInt16BE(bytes.length) : 0;
  if (Math.abs(exponent) > 10) return [null, "scale"];
  if (point.type.startsWith("float")) {
    const found = shortest(bytes);
    return found === null ? [null, "nan"] : finite(times(scaled(found, exponent), point.scale));
  }
  const bits = BigInt(8 * bytes.length);
  const isSigned = point.type.startsWith("int");
  const absent = isSigned ? 1n << (bits - 1n) : point.type.startsWith("acc") ? 0n : (1n << bits) - 1n;
  if (unsigned(bytes) === absent) return [null, "sentinel"];
  if (isFraction(point, exponent)) return [null, "scale"];
  const raw = decimal(isSigned ? signed(bytes) : unsigned(bytes));
  return [times(scaled(raw, exponent), point.scale), null];
}

/** The parts of a DataValue; null: it is none. */
function dataValue(data) {
  if (data.length === 0 || data[0] >> 6) return null;
  const mask = data[0];
  const found = { type: null, raw: null, status: 0, source: null, server: null };
  let at = 1;
  const next = (size) => {
    at += size;
    return at <= data.length ? data.subarray(at - size, at) : null;
  };
  if (mask & 1) {
    const kind = next(1)?.[0];
    const known = Object.entries(NODES).find(([, [code]]) => code === kind);
    if (kind !== 0 && !known) return null;
    if (known) {
      found.type = known[0];
      const raw = next(known[1][1]);
      if (raw === null) return null;
      found.raw = Buffer.from(raw).reverse();
    }
  }
  const us = (ticks) => {
    const off = ticks - EPOCH_TICKS;
    return off >= 0n || off % 10n === 0n ? off / 10n : off / 10n - 1n;
  };
  for (const [bit, size, take] of [
    [2, 4, (bytes) => (found.status = bytes.readUInt32LE(0))],
    [4, 8, (bytes) => (found.source = us(bytes.readBigInt64LE(0)))],
    [16, 2, () => null],
    [8, 8, (bytes) => (found.server = us(bytes.readBigInt64LE(0)))],
    [32, 2, () => null],
  ]) {
    if (!(mask & bit)) continue;
    const bytes = next(size);
    if (bytes === null) return null;
    take(bytes);
  }
  return at === data.length ? found : null;
}

function readNode(point, data) {
  const found = dataValue(data);
  if (found === null) return [null, "type"];
  if (found.status >>> 30 >= 2) return [null, "bad_status"];
  if (found.type !== point.type) return [null, "type"];
  const code = found.status >>> 30 ? "uncertain" : null;
  let raw;
  if (point.type.startsWith("float")) raw = shortest(found.raw);
  else if (point.type === "bool") raw = decimal(unsigned(found.raw) ? 1n : 0n);
  else raw = decimal(point.type.startsWith("int") ? signed(found.raw) : unsigned(found.raw));
  if (raw === null) return [null, "nan"];
  return finite(plus(times(raw, point.scale), point.offset), code ?? (isStale(point, found) ? "stale" : null));
}

function isStale(point, { source, server }) {
  if (!point.max_age_s) return false;
  if (source === null || server === null) return true;
  const age = server > source ? server - source : source - server;
  return compare(decimal(age, 6), point.max_age_s) > 0;
}

function readSelectors(point, data) {
  const text = data.toString("latin1");
  const answers = text.match(/X|[0-9A-Fa-f]{8}/g) ?? [];
  const wanted = point.unit_selector ? 2 : 1;
  if (answers.join("") !== text || answers.length !== wanted) return [null, "type"];
  if (answers.includes("X")) return [null, "sentinel"];
  const [bytes, described] = answers.map((answer) => Buffer.from(answer, "hex"));
  if (described && described[3] === 0) return [null, "sentinel"];
  if (described && described[2] !== point.unit_code) return [null, "unit"];
  const [start, end] = point.type.endsWith("_high") ? [0, 2] : point.type.endsWith("_low") ? [2, 4] : [0, 4];
  const part = bytes.subarray(start, end);
  const raw = decimal(point.type.startsWith("int") ? signed(part) : unsigned(part));
  return [plus(times(raw, point.scale), point.offset), null];
}

function readObject(point, data) {
  if (data.length === 0) return [null, "sentinel"];
  const element = jsonOf(data);
  if (point.led) {
    const state = element?.get("State");
    return ["0", "1", "2"].includes(state) ? [decimal(BigInt(state)), null] : [null, "type"];
  }
  if (element?.get("Id") !== String(point.object)) return [null, "type"];
  const [digits, ...rest] = String(element.get("Value") ?? "").trim().split(" ");
  const found = numberOf(digits);
  if (found === null) return [null, "nan"];
  const unit = rest.join(" ").trim() || String(element.get("Unit") ?? "").trim();
  const factors = point.units.find((one) => one.unit === unit);
  return factors ? finite(plus(times(found, factors.scale), factors.offset)) : [null, "unit"];
}
