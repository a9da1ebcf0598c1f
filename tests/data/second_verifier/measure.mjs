// A plan measured on trees: streams, units, the regression, the saving (docs/format.md, 11).

import { Refused, byCode } from "./bytes.mjs";
import { ESTIMATED, MEASURED, MOST, countIn, follow, lateOf, ruleOf, shutBy, totalsOf } from "./counting.mjs";
import { number, decimalOf } from "./decimals.mjs";
import { batchesOf, lostSlots, withheldSlots } from "./leaves.mjs";
import { factorOn } from "./plan.mjs";
import { intervalOf, periodOf } from "./site.mjs";
import {
  cumulativeVariances, fit, fsum, halfWidth, mean, noiseOf, quantile, row, sd, squared, varianceOf,
} from "./stats.mjs";
import { dayNumber, dayText, label, midnight, offsetAt } from "./zone.mjs";

const [HOUR, DAY] = [3_600_000_000, 86_400_000_000];
const WIDTHS = [900_000_000, HOUR, DAY];
const FAR = 2 ** 60;
const unique = (list) => [...new Set(list)];
const refuse = (code) => new Refused(code, "it cannot be measured");

// --- streams -------------------------------------------------------------------------------------

/** A counter of a tree, followed over all of its readings. */
function streamOf(tree, profile, documents, name, corrections, zone) {
  const point = profile.points.find((one) => one.name === name);
  if (!point) throw refuse("missing_point");
  if (!point.counter) throw refuse("not_a_counter");
  const period = periodOf(tree, documents);
  const interval = intervalOf(tree, documents);
  const step = interval ?? period;
  const rows = tree.records.map((record) => readingOf(tree, record, corrections));
  const isShut = shutBy(profile, name, rows);
  const partial = partialOf(tree);
  const readings = rows.map((one, i) => ({
    t: one.t, late: lateOf(tree.records[i - 1], tree.records[i]), count: one.count(name), isShut: isShut[i] || partial.has(one.seq),
  }));
  const rule = ruleOf(profile, point, step);
  checkRange(readings, rule);
  const { nodes, events } = follow(rule, readings, zone);
  const stream = {
    tree, profile, point, unit: point.unit, period, step, rule, nodes, events, interval, readings,
    width: WIDTHS.find((width) => width % step === 0) ?? DAY, lost: lostSlots(tree),
    withheld: withheldSlots(tree, period), isNotDue: tree.records.map((r) => point.every_s && r.q[name] === "not_due"),
  };
  stream.unmeasured = unmeasuredOf(stream);
  return stream;
}

function checkRange(readings, rule) {
  const good = readings.map(({ count }) => count).filter((count) => count !== null);
  const rises = good.slice(1).map((count, i) => Number(count - good[i])).filter((rise) => rise > 0);
  if (rises.reduce((a, b) => a + b, 0) >= 2 ** 62 && !rule.mostPerHour) throw refuse("counter_out_of_range");
}

/** A record's counters and gauges with the corrections that are of it. */
function readingOf(tree, { seq, slot, decoded }, corrections) {
  const { values, quality } = decoded;
  const mine = (name) => corrections.filter(({ content, first, last }) => content.origin === tree.origin
    && content.point === name && first <= seq && seq <= last && quality[name] !== "not_due").at(-1)?.content;
  const own = (name) => (Object.hasOwn(values, name) && !Object.hasOwn(quality, name) ? Number(values[name]) : NaN);
  return {
    seq, t: slot,
    count: (name) => {
      const change = mine(name);
      if (!change) return countIn(values, quality, name);
      return change.treatment === "replaced" ? countOf(change.value) : null;
    },
    gauge: (name) => {
      const change = mine(name);
      return change ? Number(change.value ?? NaN) : own(name);
    },
  };
}

function countOf(text) {
  const count = BigInt(text.split(".")[0]);
  if (text.startsWith("-") || count > MOST) throw refuse("correction_value");
  return count;
}

/** The records that end a time of which a part was not measured. */
function partialOf(tree) {
  const found = new Set();
  for (const { end, fields, runs } of batchesOf(tree)) {
    const missing = fields.energy?.missing_us ?? "0";
    const last = tree.records.findLast(({ seq }) => seq < end);
    if (runs.length && missing !== "0" && last) found.add(last.seq);
  }
  return found;
}

function unmeasuredOf(stream) {
  const { nodes, events, rule, tree, readings } = stream;
  const span = (start, end, isEstimated, reasons) => ({ start, end, isEstimated, reasons });
  if (nodes.length === 0) return [span(-FAR, FAR, false, ["no_reading"])];
  const found = [span(-FAR, nodes[0].t, false, ["before_first_reading"])];
  for (let k = 1; k < nodes.length; k++) {
    const [before, { t: end, kind, index }] = [nodes[k - 1], nodes[k]];
    if (kind === MEASURED) continue;
    const reasons = kind === 0 ? ["all_zero"] : [];
    for (const { code, at } of events) {
      if (before.t < at && at <= end) reasons.push(["reset", "replacement"].includes(code) ? "counter_fell" : code);
    }
    if (readings.slice(before.index + 1, index + 1).some(({ late }) => late > 0)) reasons.push("clock_set_back");
    if (end - before.t > rule.maxGap) {
      const isIn = ({ first, last }) => first < end && last > before.t;
      reasons.push(...unique(tree.gaps.filter(isIn).map((gap) => gap.cause)).sort(byCode).map((cause) => `gap:${cause}`));
      if (stream.lost.some(isIn)) reasons.push("leaves_lost");
      const isBad = readings.slice(before.index + 1, index)
        .some(({ count }, i) => count === null && !stream.isNotDue[before.index + 1 + i]);
      if (isBad) reasons.push("bad_value");
    }
    found.push(span(before.t, end, kind === ESTIMATED, reasons.length ? unique(reasons) : ["no_reading"]));
  }
  return [...found, span(nodes.at(-1).t, FAR, false, ["after_last_reading"])];
}

/** The unmeasured time inside [start, end), cut to it. */
export function spansIn(stream, start, end) {
  return stream.unmeasured.filter((span) => span.end > start && span.start < end)
    .map((span) => ({ ...span, start: Math.max(span.start, start), end: Math.min(span.end, end) }));
}

// --- units ---------------------------------------------------------------------------------------

function gridOf({ from, to }, unit, zone) {
  const days = [];
  for (let day = dayNumber(from); day < dayNumber(to); day++) days.push(day);
  const end = midnight(dayNumber(to), zone);
  if (unit === "day") return { edges: [...days.map((day) => midnight(day, zone)), end], days, labels: days.map(dayText) };
  const [edges, owners] = [[], []];
  for (const day of days) {
    for (let t = midnight(day, zone); t < midnight(day + 1, zone); t += HOUR) {
      edges.push(t);
      owners.push(day);
    }
  }
  return { edges: [...edges, end], days: owners, labels: edges.map((t) => label(t, zone)) };
}

function unitsOf(plan, dates, streams, zone) {
  const grid = gridOf(dates, plan.unit, zone);
  const totals = streams.map((stream) => totalsOf(stream.nodes, grid.edges));
  const nominal = plan.unit === "day" ? DAY : HOUR;
  const units = grid.days.map((day, k) => {
    const [start, end] = [grid.edges[k], grid.edges[k + 1]];
    const out = (plan.non_routine ?? []).filter(({ dates: one }) => dayNumber(one.from) <= day && day < dayNumber(one.to));
    const reasons = out.map(({ id }) => `non_routine: ${id}`);
    let joint = end - start;
    let measured = totals.map(({ total }) => total[k]);
    if (totals.some(({ covered }) => covered[k] !== end - start)) {
      for (const stream of streams) {
        const where = `${stream.tree.device}/${stream.point.name}`;
        reasons.push(...spansIn(stream, start, end).flatMap((span) => span.reasons.map((why) => `${where}: ${why}`)));
      }
      const edges = jointEdges(streams, start, end);
      const isIn = (_, i) => i % 2 === 0;
      joint = edges.filter(isIn).reduce((sum, t, i) => sum + edges[2 * i + 1] - t, 0);
      measured = streams.map(({ nodes }) => totalsOf(nodes, edges).total.filter(isIn).reduce((a, b) => a + b, 0n));
    }
    const worst = totals.reduce((least, { covered }, j) => (covered[k] < totals[least].covered[k] ? j : least), 0);
    return {
      day, start, end, label: grid.labels[k], reasons: unique(reasons), measured, worst: {
        covered: totals[worst].covered[k], estimated: totals[worst].estimated[k], missing: totals[worst].missing[k],
      },
      exposure: joint / nominal, isKept: out.length === 0 && joint >= 0.9 * (end - start), place: k,
    };
  });
  const kept = units.filter((unit) => unit.isKept);
  const x = kept.map((unit) => [unit.exposure, ...unit.measured.slice(1).map(Number)]);
  const y = kept.map((unit) => Number(unit.measured[0]));
  return { dates, grid, totals, units, kept, x, y, place: kept.map((unit) => unit.place) };
}

function jointEdges(streams, start, end) {
  const holes = streams.flatMap((stream) => spansIn(stream, start, end))
    .sort((one, other) => one.start - other.start || one.end - other.end);
  const edges = [];
  let at = start;
  for (const hole of [...holes, { start: end, end }]) {
    if (hole.start > at) edges.push(at, hole.start);
    at = Math.max(at, hole.end);
  }
  return edges;
}

// --- the whole -----------------------------------------------------------------------------------

/** The measurement of a plan. `parts` are { tree, profile } by device. */
export function measure(plan, parts, documents, factors, corrections) {
  const zone = plan.time_zone;
  const drivers = plan.drivers ?? [];
  const streams = [plan.energy, ...drivers].map(({ device, point }) => {
    const part = parts.get(device);
    if (!part) throw refuse("missing_device");
    if (part.tree.site !== plan.site) throw refuse("wrong_site");
    return streamOf(part.tree, part.profile, documents, point, corrections, zone);
  });
  checkTogether(plan, drivers, streams);
  const byDay = factorsByDay(plan, factors);
  const before = unitsOf(plan, plan.baseline, streams, zone);
  const after = unitsOf(plan, plan.reporting, streams, zone);
  const refused = after.kept.length ? [] : [{ code: "no_reporting_units", subject: "reporting", seen: 0 }];
  let [model, noise] = [null, null];
  if (drivers.length) {
    try {
      model = fit(before.x, before.y, before.place);
      noise = noiseOf(model);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      refused.push({ code: error.code, subject: "baseline", seen: before.kept.length });
    }
  }
  const findings = [...judged(plan, streams, before, after, model), ...refused.map((one) => ({
    ...one, by: "engine", low: null, high: null, unit: "units", passed: false,
  }))];
  const isProven = findings.every(({ passed }) => passed) && noise !== null;
  const saving = isProven ? savingOf(plan, noise, after, byDay) : null;
  if (saving) saving.without = plan.non_routine?.length
    ? measure({ ...plan, non_routine: [] }, parts, documents, factors, corrections).saving?.avoided ?? null : null;
  return { plan, zone, streams, before, after, model, noise, findings, saving, claim: claimOf(streams[0], before, after, zone) };
}

function checkTogether(plan, drivers, streams) {
  if (streams[0].unit !== "Wh") throw refuse("not_energy");
  if (streams[0].interval !== null && plan.energy.point !== "energy_wh") throw refuse("not_in_envelope");
  if (new Set(streams.map(({ tree }) => tree.clock)).size > 1) throw refuse("mixed_clocks");
  drivers.forEach((driver, k) => {
    if (streams[k + 1].profile.synthetic && !driver.synthetic) throw refuse("synthetic_not_declared");
  });
}

function factorsByDay(plan, factors) {
  const { set, rule_set: ruleSet, jurisdiction } = plan.factors;
  if (ruleSet === "dataset-check") throw refuse("dataset_check_factor");
  if (factors.factor_set !== set) throw refuse("wrong_factor_set");
  const found = new Map();
  for (let day = dayNumber(plan.reporting.from); day < dayNumber(plan.reporting.to); day++) {
    const factor = factorOn(factors, ruleSet, jurisdiction, day);
    if (factor === null) throw refuse("no_factor");
    if (factor.rule_sets.includes("dataset-check")) throw refuse("dataset_check_factor");
    found.set(day, factor);
  }
  return found;
}

function judged(plan, streams, before, after, model) {
  const by = "iso50006-production";
  const length = before.kept.reduce((sum, unit) => sum + unit.end - unit.start, 0);
  const days = plan.unit === "day" ? before.kept.length : length / DAY;
  const atLeast = (code, subject, seen, low, unit) =>
    ({ code, by, subject, seen, low, high: null, unit, passed: seen >= low });
  const active = streams.slice(1).filter(({ unit }) => ["kg", "m3", "1"].includes(unit)).length;
  const findings = [
    atLeast("too_few_days", "baseline", days, 60, "d"),
    atLeast("too_few_cycles", "baseline", days / plan.production_cycle_days, 2, "cycles"),
    atLeast("no_activity_driver", "model", active, 1, "drivers"),
  ];
  (plan.drivers ?? []).forEach(({ name }, j) => {
    const [values, now] = [before.x.map((one) => one[j + 1]), after.x.map((one) => one[j + 1])];
    if (values.length < 2 || now.length === 0) return;
    const [middle, wide, seen] = [mean(values), 3 * sd(values), mean(now)];
    const [low, high] = [Math.min(...values, middle - wide), Math.max(...values, middle + wide)];
    findings.push({ code: "driver_out_of_range", by, subject: name, seen, low, high, unit: streams[j + 1].unit,
      passed: low <= seen && seen <= high });
  });
  if (model) findings.push(atLeast("low_adjusted_r2", "model", adjusted(model), 0.5, "1"));
  return findings;
}

export const adjusted = (model) => 1 - model.variance / (model.sst / (model.n - 1));
export const leverage = (model, x) => squared(row(x, model.basis));
const predict = (model, x) => x.reduce((sum, value, j) => sum + value * model.beta[j], 0);

function savingOf(plan, noise, after, byDay) {
  const { model } = noise;
  const confidence = number(decimalOf(plan.confidence));
  const predicted = after.x.map((one) => predict(model, one));
  const avoided = predicted.map((value, i) => value - after.y[i]);
  const variance = (weights) => varianceOf(noise, after.x, after.place, weights);
  const whole = variance(after.y.map(() => 1));
  const width = (value, at = confidence) => halfWidth(noise, value, at);
  const months = unique(after.units.map(({ day }) => dayText(day).slice(0, 7))).sort().map((month) => {
    const isIn = ({ day }) => dayText(day).startsWith(month);
    const inside = after.kept.map(isIn);
    const sum = (values) => fsum(values.filter((_, i) => inside[i]));
    return {
      month, kept: inside.filter(Boolean).length, masked: after.units.filter((unit) => !unit.isKept && isIn(unit)).length,
      measured: sum(after.y), predicted: sum(predicted), avoided: sum(avoided),
      halfWidth: width(variance(inside.map(Number))),
    };
  });
  let total = 0;
  const saving = {
    confidence, predicted, units: avoided, counterfactual: fsum(predicted), measured: fsum(after.y), avoided: fsum(avoided),
    halfWidth: width(whole), halfWidth90: width(whole, 0.9), halfWidth95: width(whole, 0.95), error: Math.sqrt(whole),
    degrees: noise.degrees, months, sums: avoided.map((value) => (total += value)),
    widths: cumulativeVariances(noise, after.x, after.place).map((value) => width(value)),
    fitted: model.x.map((one) => predict(model, one)),
  };
  saving.carbon = carbonOf(noise, after, saving, byDay, variance);
  const rule = CREDITABLE[plan.creditable_policy];
  if (!rule) throw refuse("bad_plan");
  const amount = (s, h90, h95) => (s <= 0 ? 0 : Math.max(0, rule(s, h90, h95)));
  saving.creditable = amount(saving.avoided, saving.halfWidth90, saving.halfWidth95);
  saving.creditableKg = amount(saving.carbon.avoided, saving.carbon.halfWidth90, saving.carbon.halfWidth95);
  return saving;
}

const CREDITABLE = {
  "lower-bound-one-sided-95": (s, h) => s - h,
  "art-trees-eq11": (s, h) => s * (1 - (0.524417 * (h / s)) / 1.645006),
  "vcs-one-sided-66.7": (s, h) => s - (0.4307 / 1.645) * h,
  "unfccc-conservativeness": (s, _, h) => s * (1 + h / s) ** (-0.6745 / 1.96),
  "unfccc-adjustment-table": (s, _, h) =>
    s * (h / s <= 0.1 ? 0.98 : h / s <= 0.3 ? 0.94 : h / s <= 0.5 ? 0.89 : h / s <= 1 ? 0.82 : 0.73),
};

function carbonOf(noise, after, saving, byDay, variance) {
  const factors = after.kept.map(({ day }) => byDay.get(day));
  const kgPerKwh = (factor) => Number(factor.factor_kg_per_kwh);
  const fromEnergy = Math.sqrt(variance(factors.map((factor) => kgPerKwh(factor) / 1000)));
  const uses = unique(factors).map((factor) => {
    const isIn = (_, i) => factors[i] === factor;
    const wh = saving.units.filter(isIn);
    const days = after.kept.filter(isIn).map(({ day }) => dayText(day));
    const kg = (wh.reduce((a, b) => a + b, 0) / 1000) * kgPerKwh(factor);
    return { factor, days, avoided: fsum(wh), kg };
  });
  const fromFactor = Math.abs(fsum(uses.map(({ factor, kg }) => kg * Number(factor.standard_uncertainty_ratio))));
  const combined = Math.hypot(fromEnergy, fromFactor);
  const degrees = fromEnergy > 0 ? Math.min(noise.degrees * Math.min(combined / fromEnergy, 1e4) ** 4, 1e9) : 1e9;
  const width = (at) => quantile((1 + at) / 2, degrees) * combined;
  return {
    uses, fromEnergy, fromFactor, combined, degrees, avoided: fsum(uses.map(({ kg }) => kg)),
    halfWidth: width(saving.confidence), halfWidth90: quantile(0.95, degrees) * combined,
    halfWidth95: quantile(0.975, degrees) * combined,
  };
}

// --- what a calendar would claim -----------------------------------------------------------------

function claimOf(stream, before, after, zone) {
  const { width } = stream;
  const [one, other] = [before, after].map(({ grid }) => intervalsOf(stream, grid, width, zone));
  if (!one || !other) return null;
  const cells = new Map();
  for (const { cell, wh, isMeasured } of one) {
    if (!isMeasured) continue;
    const [sum, n] = cells.get(cell) ?? [0n, 0];
    cells.set(cell, [sum + wh, n + 1]);
  }
  const used = other.filter(({ cell, isMeasured }) => isMeasured && cells.has(cell));
  const predicted = fsum(used.map(({ cell }) => Number(cells.get(cell)[0]) / cells.get(cell)[1]));
  const measured = Number(used.reduce((sum, { wh }) => sum + wh, 0n));
  return predicted > 0 ? { width, cells: cells.size, intervals: used.length, predicted, measured } : null;
}

function intervalsOf(stream, grid, width, zone) {
  const [start, end] = [grid.edges[0], grid.edges.at(-1)];
  if (start % width || end % width) return null;
  const edges = [];
  for (let t = start; t <= end; t += width) edges.push(t);
  const { total, covered } = totalsOf(stream.nodes, edges);
  const minutes = width / 60_000_000;
  return edges.slice(0, -1).map((t, k) => {
    const minute = Math.floor((t + offsetAt(t, zone)) / 60_000_000) + 3 * 1440;
    return { cell: Math.floor((minute % 10080) / minutes), wh: total[k], isMeasured: covered[k] === width };
  });
}

