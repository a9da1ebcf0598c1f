// What a counter counted, reading by reading, and its energy per window (docs/format.md, 11.3 to 11.5).

import { Refused, equal, isObject, u64 } from "./bytes.mjs";
import { ceil, decimalOf, floor, plain, rounded, scaled, times, decimal } from "./decimals.mjs";
import { batchesOf } from "./leaves.mjs";
import { factorOn } from "./plan.mjs";
import { scaledBy } from "./profile.mjs";
import { factorsOf, intervalOf, periodOf, siteOf } from "./site.mjs";
import { dayOf, midnight } from "./zone.mjs";

export const MOST = 2n ** 63n - 1n;
export const [MEASURED, ESTIMATED] = [1, 2];
const [ZERO, FALL, LEAP] = [1, 2, 3];
const LARGE = 2n ** 62n;
const HOUR = 3_600_000_000;
const LATEST = 2 ** 52;
const MANTISSA = { float16: 10n, float32: 23n, float64: 52n };
const least = (one, other) => (one < other ? one : other);

/** The rule of a counter, in whole units of its name. */
export function ruleOf(profile, point, devicePeriod) {
  const period = Math.max((point.every_s ?? 0) * 1_000_000, devicePeriod);
  const modulus = point.modulus ? floor(scaledBy(point.modulus, point)) : 0n;
  const isObjects = profile.protocol === "sigma_control";
  const bits = isObjects ? 62n : (MANTISSA[point.type] ?? 62n);
  const scales = isObjects ? point.units.map((one) => ceil(one.scale)) : [ceil(point.scale)];
  const largest = scales.reduce((one, other) => (one > other ? one : other));
  return {
    maxGap: Math.floor((period * 3) / 2), slack: slackOf(period), modulus: modulus < LARGE ? modulus : 0n,
    quantum: point.quantum ? least(ceil(point.quantum), LARGE) : 0n, bits, mostPerHour: mostPerHour(profile, point),
    stuck: point.stuck_s ? Number(least(floor(scaled(point.stuck_s, 6)), LARGE)) : 0, isDaily: Boolean(point.daily),
    noZero: Boolean(point.false_zero), step: bits === 62n ? least(largest, 2n ** 60n) : 1n,
  };
}

const slackOf = (period) => Math.max(Math.floor(period / 2), Math.min(10_000_000, Math.floor((period * 9) / 10)));

function mostPerHour(profile, point) {
  const known = point.maximum_rate ? [times(point.maximum_rate, decimal(3600n))] : [];
  for (const { rule, counter, power: name } of profile.checks) {
    if (rule !== "rate" || counter !== point.name) continue;
    const power = profile.points.find((one) => one.name === name);
    const isSame = !point.direction || !power.direction || point.direction === power.direction;
    if (isSame && power.maximum) known.push(power.maximum);
    if (!isSame && power.minimum && power.minimum.n < 0n) known.push({ n: -power.minimum.n, p: power.minimum.p });
  }
  if (known.length === 0) return 0n;
  const most = known.map((one) => floor(one)).reduce(least);
  return least(most > 1n ? most : 1n, LARGE);
}

function limit(rule, span, count) {
  if (rule.mostPerHour === 0n) return MOST;
  const whole = BigInt(span + rule.slack);
  if (whole > (MOST - MOST / 4n) / rule.mostPerHour) return MOST;
  return (rule.mostPerHour * whole) / BigInt(HOUR) + rule.quantum + (count >> rule.bits) + rule.step;
}

/** Nodes { t, count, kind, index } and events of readings { t, late, count or null, isShut }. */
export function follow(rule, readings, zone) {
  const nodes = [];
  const events = [];
  const s = { has: false, count: 0n, shut: false, shutLast: false, shutRun: 0, isStuck: false, waits: 0, resetDay: -1, late: 0 };
  const day = (t) => (rule.isDaily ? dayOf(t + HOUR, zone) : 0);
  const node = (t, kind, index) => nodes.push({ t, count: s.count, kind, index });
  const event = (code, start, at, before, after, booked) => events.push({ code, start, at, before, after, booked });
  const believe = (t, at, raw, rise, on) => {
    if (!s.has || raw !== s.raw) [s.runT, s.runAt, s.isStuck] = [t, at, false];
    Object.assign(s, { has: true, t, at, raw, day: on, count: s.count + rise, shut: false });
    if (raw > 0n) s.counted = true;
  };

  function decide(at, v) {
    const { waits, value, firstT, raw: base, t: baseT } = s;
    const waited = s.firstAt - s.at;
    let goesOn = v >= base && v - base <= limit(rule, at - s.at, v);
    const anew = v >= value && v - value <= limit(rule, at - s.lastAt, v);
    const isNewDay = rule.isDaily && s.firstDay > s.resetDay;
    s.waits = 0;
    if (isNewDay && anew && waits === ZERO && rule.mostPerHour) goesOn = false;
    if (goesOn || !anew) {
      const zero = waited > rule.maxGap ? "wake_up_zero" : "false_zero";
      return event(waits === ZERO ? zero : "spike", baseT, firstT, base, value, 0n);
    }
    const most = limit(rule, waited, value);
    let [code, rise, kind] = ["reset", 0n, ESTIMATED];
    if (waits === LEAP) {
      if (value - base <= limit(rule, s.firstAt - s.runAt, value)) [code, rise] = ["catch_up", value - base];
      else [code, kind] = ["jump", -9];
    } else if (isNewDay && value <= most) {
      [code, rise, s.resetDay] = ["daily_reset", value, s.firstDay];
      if (s.firstDay - s.day > 1) [rise, kind] = [0n, -6];
    } else [code, kind] = value <= most ? ["reset", -2] : ["replacement", -7];
    if (s.shutFirst || rise > MOST - s.count) [rise, kind] = [0n, Math.min(kind, 0)];
    event(code, baseT, firstT, base, value, rise);
    const [kept, runT] = [s.shutLast, s.lastT];
    believe(firstT, s.firstAt, value, rise, s.firstDay);
    node(firstT, kind, s.first);
    if (runT > firstT) {
      believe(runT, s.lastAt, value, 0n, s.firstDay);
      node(runT, s.shutRun & 2 ? 0 : s.isBroken ? ESTIMATED : MEASURED, s.last);
    }
    s.shut = kept;
  }

  readings.forEach(({ t, late, count: v, isShut }, i) => {
    if (isShut) Object.assign(s, { shut: true, shutLast: true, shutRun: s.shutRun | 1 });
    s.late = Math.min(s.late + late, LATEST);
    if (v === null) return;
    const at = t + s.late;
    if (!s.has) {
      believe(t, at, v, 0n, day(t));
      s.seen = t;
      return node(t, 0, i);
    }
    if (t <= s.seen) return;
    s.seen = t;
    if (s.waits === ZERO && v === 0n) {
      if (at - s.lastAt > rule.maxGap) s.isBroken = true;
      Object.assign(s, { lastT: t, lastAt: at, shutLast: false, last: i });
      if (s.shutRun & 1) s.shutRun |= 2;
      return;
    }
    if (s.waits) decide(at, v);
    const { raw: base, t: baseT } = s;
    const span = at - s.at;
    const most = limit(rule, span, v);
    const isLong = span > rule.maxGap;
    let kind = isLong || s.isStuck ? ESTIMATED : MEASURED;
    const isUnseen = rule.isDaily && isLong && day(t) > s.day;
    let [rise, code, waits, believed] = [0n, null, 0, v];
    if (rule.modulus && isLong && most >= rule.modulus) [code, kind] = ["unknown_wraps", -12];
    else if (v < base) {
      const wrapped = rule.modulus - base + v;
      if (base < rule.modulus && wrapped <= most && most < rule.modulus) [code, rise] = ["rollover", wrapped];
      else if (base - v <= rule.quantum + (base >> rule.bits)) [code, believed] = ["backwards", base];
      else waits = v === 0n ? ZERO : FALL;
    } else if (v === base) {
      if (rule.stuck && at - s.runAt > rule.stuck) {
        if (!s.isStuck) event("stuck", s.runT, t, v, v, 0n);
        s.isStuck = true;
        return;
      }
      if (isUnseen) [code, kind] = ["daily_reset", -6];
    } else if (base === 0n && !s.counted && (rule.noZero || v > most)) [code, kind] = ["wake_up_zero", -4];
    else if (v - base > most) waits = LEAP;
    else if (isUnseen) [code, kind] = ["daily_reset", -6];
    else [rise, code] = [v - base, s.isStuck ? "catch_up" : null];
    if (waits) {
      Object.assign(s, { waits, firstT: t, lastT: t, firstAt: at, lastAt: at, value: v, firstDay: day(t), isBroken: false, shutFirst: s.shut,
        shutRun: 0, shutLast: false, first: i, last: i });
      return;
    }
    if (s.shut || rise > MOST - s.count) [rise, kind] = [0n, Math.min(kind, 0)];
    if (code) event(code, baseT, t, base, v, rise);
    believe(t, at, believed, rise, day(t));
    node(t, kind, i);
  });
  return { nodes, events };
}

/** Per window between edges: total (BigInt), covered, estimated, missing. [us] */
export function totalsOf(nodes, edges) {
  const n = Math.max(edges.length - 1, 0);
  const found = { total: new Array(n).fill(0n), covered: new Array(n).fill(0), estimated: new Array(n).fill(0) };
  let window = 0;
  for (let k = 1; k < nodes.length; k++) {
    const [{ t: start, count: before }, { t: end, count, kind }] = [nodes[k - 1], nodes[k]];
    if (kind <= 0 || end <= start) continue;
    while (window < n && edges[window + 1] <= start) window++;
    const booked = kind === MEASURED ? found.covered : found.estimated;
    for (let w = window; w < n && edges[w] < end; w++) {
      const [low, high] = [Math.max(start, edges[w]), Math.min(end, edges[w + 1])];
      const until = (to) => ((count - before) * BigInt(to - start)) / BigInt(end - start);
      found.total[w] += until(high) - until(low);
      booked[w] += high - low;
    }
  }
  found.missing = found.covered.map((us, w) => edges[w + 1] - edges[w] - us - found.estimated[w]);
  return found;
}

/** A counter's whole count in a record's text; null: none that counts. */
export function countIn(values, quality, name) {
  if (Object.hasOwn(quality, name) || !Object.hasOwn(values, name)) return null;
  const text = String(values[name]);
  const parsed = decimalOf(text);
  if (parsed === null) return null;
  const count = BigInt(plain(parsed).split(".")[0]);
  return count >= 0n && count <= MOST ? count : null;
}

/** Which steps to a record a rule of the profile takes away. */
export function shutBy(profile, name, rows) {
  const isShut = rows.map(() => false);
  for (const rule of profile.rules.filter(({ counters }) => counters.includes(name))) {
    for (let i = 1; i < rows.length; i++) {
      const stood = rule.counters.every((counter) => {
        const [before, after] = [rows[i - 1], rows[i]].map((row) => row.count(counter));
        return before !== null && before === after;
      });
      if (stood && (rule.gauges ?? []).every((gauge) => rows[i].gauge(gauge) === 0)) isShut[i] = true;
    }
  }
  return isShut;
}

/** How far the clock was set back between two records. [us] */
export function lateOf(before, after) {
  if (!before || before.boot === null || before.boot !== after.boot) return 0;
  const step = after.read - before.read - (after.mono - before.mono);
  return step < -500_000 ? Math.min(-step, LATEST) : 0;
}

/** A record as rows of counters and gauges. */
export function rowOfRecord(record) {
  const { seq, slot, val, q } = record;
  return {
    record, seq, t: slot, count: (name) => countIn(val, q, name),
    gauge: (name) => (Object.hasOwn(val, name) && !Object.hasOwn(q, name) ? Number(val[name]) : NaN),
  };
}

// --- energy of envelopes -------------------------------------------------------------------------

const ENERGY = "energy_wh";
const TIMES = ["covered_us", "estimated_us", "missing_us"];

/** That every envelope states the energy of its records. */
export function checkEnergy(tree, profile, documents) {
  const period = periodOf(tree, documents);
  const interval = intervalOf(tree, documents) ?? period;
  const carbon = carbonOf(tree, documents);
  let [anchor, next, taken] = [null, 0, 0];
  for (const { start, end, fields, runs } of batchesOf(tree)) {
    const first = taken;
    while (taken < tree.records.length && tree.records[taken].seq < end) taken++;
    const inside = tree.records.slice(first, taken).map(rowOfRecord);
    const isLost = start !== next;
    next = end + 1;
    const sums = sumsOf(profile, isLost ? null : anchor, inside, runs.length ? interval : period, carbon);
    anchor = sums.last ?? anchor;
    const told = fields.energy ?? null;
    if (isLost || equal(told, sums.fields) || (runs.length === 0 && equal(told, {}))) continue;
    if (runs.length === 0 || !isSameStep(told, sums.fields)) throw new Refused("envelope_energy", String(end));
  }
}

function isSameStep(told, given) {
  if (Object.keys(given).length === 0) return true;
  if (!isObject(told)) return false;
  const [one, other] = [told, given].map((sums) => TIMES.map((name) => u64(sums[name])));
  if (one.includes(null)) return false;
  const sum = (list) => list.reduce((a, b) => a + b);
  return sum(one) === sum(other) && ["point", ENERGY].every((name) => equal(told[name] ?? null, given[name]));
}

function carbonOf(tree, documents) {
  const site = siteOf(tree, documents);
  const { rule_set: ruleSet, jurisdiction } = site.factors ?? {};
  if (ruleSet === undefined || !site.time_zone) throw new Refused("bad_document", "factors");
  return { zone: site.time_zone, factors: factorsOf(tree, documents), ruleSet, jurisdiction };
}

/** The sums, and the row from which the next ones go on; null: the anchor stays. */
function sumsOf(profile, anchor, rows, period, carbon) {
  const whole = anchor === null ? rows : [anchor, ...rows];
  const point = profile.points.find((one) => one.name === ENERGY && one.counter);
  if (!point || whole.length < 2) return { fields: {}, last: rows.at(-1) ?? null };
  const isShut = shutBy(profile, ENERGY, whole);
  const readings = whole.map((row, i) => ({
    t: row.t, late: lateOf(whole[i - 1]?.record, row.record), count: row.count(ENERGY), isShut: isShut[i],
  }));
  const { nodes } = follow(ruleOf(profile, point, period), readings, carbon.zone);
  const index = nodes.length ? nodes.at(-1).index : whole.length - 1;
  const edges = daysBetween(whole[0].t, whole[index].t, carbon.zone);
  const { total, covered, estimated, missing } = totalsOf(nodes, edges);
  const sum = (list) => String(list.reduce((a, b) => a + b, typeof list[0] === "bigint" ? 0n : 0));
  const fields = {
    point: ENERGY, energy_wh: sum(total), covered_us: sum(covered), estimated_us: sum(estimated),
    missing_us: sum(missing), co2e_kg: co2eOf(total, edges, carbon),
  };
  return { fields, last: anchor !== null && index === 0 ? null : whole[index] };
}

function daysBetween(start, end, zone) {
  const edges = [start];
  for (let day = dayOf(start, zone) + 1; ; day++) {
    const edge = midnight(day, zone);
    if (edge >= end) return [...edges, end];
    edges.push(edge);
  }
}

function co2eOf(total, edges, carbon) {
  const byFactor = new Map();
  for (let k = 0; k < total.length; k++) {
    const factor = factorOn(carbon.factors, carbon.ruleSet, carbon.jurisdiction, dayOf(edges[0], carbon.zone) + k);
    if (factor === null) return null;
    byFactor.set(factor, (byFactor.get(factor) ?? 0) + Number(total[k]));
  }
  let kg = 0;
  for (const [factor, wh] of byFactor) kg += (wh / 1000) * Number(factor.factor_kg_per_kwh);
  const exact = exactOf(kg);
  const shift = exact.p - 6;
  const n = shift > 0 ? rounded(exact.n, 10n ** BigInt(shift)) : exact.n * 10n ** BigInt(-shift);
  return plain(decimal(n, 6));
}

/** The exact decimal of a float. */
function exactOf(value) {
  let [n, power] = [value, 0];
  while (!Number.isInteger(n)) [n, power] = [n * 2, power + 1];
  return { n: BigInt(n) * 5n ** BigInt(power), p: power };
}
