// The report as far as it must be repeated (docs/format.md, 12.2).

import { byCode, decode64, digest } from "./bytes.mjs";
import { decimalOf, hours, kwh, percent, places, scaled, share, significant, tonnes, withHalfWidth } from "./decimals.mjs";
import { totalsOf } from "./counting.mjs";
import { keysOf, lostSlots, withheldSlots } from "./leaves.mjs";
import { correctionsIn, datedOf, readingsOf } from "./log.mjs";
import { adjusted, leverage, spansIn } from "./measure.mjs";
import { periodOf } from "./site.mjs";
import { fsum, mean, sd, spread, tail } from "./stats.mjs";
import { headOf, parseNote } from "./trees.mjs";
import { dayNumber, dayText, localTime } from "./zone.mjs";

const POLICY = "iso50006-production";
const text = String;
const shownUnit = (unit) => ({ Wh: "kWh", kg: "t" })[unit] ?? unit;
const shown = (unit, value) =>
  value === null ? null : shownUnit(unit) === unit ? significant(value, 8) : kwh(value);
const orNull = (form, value) => (value === null || value === undefined ? null : form(value));
const sumOf = (list) => list.reduce((a, b) => a + b, 0);
const bigSum = (list) => list.reduce((a, b) => a + b, 0n);
const fingerprint = (key) => digest(key).slice(0, 32).match(/.{4}/g).join(" ");

/** The fields of the report; `parts` by device, `account` null in the first format. */
export function reportOf(measured, without, parts, documents, plan, claims, planDigest, account) {
  const { saving, streams, findings } = measured;
  const used = [...parts.values()].map((part) => usedOf(part, documents));
  used.sort((one, other) => byCode(one.device, other.device) || one.epoch - other.epoch);
  const isOut = saving === null;
  const codes = findings.filter(({ passed }) => !passed).map(({ code }) => code);
  const clock = streams[0].tree.clock;
  const report = {
    format: "joulemark-report/1", result: isOut ? "disqualified" : "measured", clock,
    banners: [...(clock === "simulated" ? ["replayed"] : []), ...used.filter((one) => one.profile.synthetic)
      .map(() => "synthetic"), ...(isOut ? ["disqualified"] : [])],
    project: projectOf(plan), ...statedPlan(plan, planDigest, account, measured), refused_because: isOut ? codes : [],
    periods: { baseline: periodOfUnits(measured, measured.before), reporting: periodOfUnits(measured, measured.after) },
    ...(isOut ? NOTHING : savingFields(measured)),
    model: measured.noise ? modelOf(measured) : null, policy: { id: POLICY, version: "1" },
    findings: findings.map((one) => ({ code: one.code, by: one.by, subject: one.subject, seen: shown(one.unit, one.seen),
      at_least: shown(one.unit, one.low), at_most: shown(one.unit, one.high), unit: shownUnit(one.unit), passed: one.passed })),
    refused_claims: measured.claim ? [claimOf(measured.claim)] : [],
    coverage: streams.map((stream, k) => coverageOf(measured, stream, k, account !== null)),
    ...holes(measured), gaps: gapsOf(parts, used, measured.zone),
    exclusions: (plan.non_routine ?? []).map((item) => ({ id: item.id, from: item.dates.from,
      to_exclusive: item.dates.to, cause: item.cause, evidence_sha256: item.evidence_sha256, author: item.author,
      approval: item.approval, treatment: item.treatment })),
    time_quality: timeQuality(measured, used), evidence: used.map((one) => evidenceOf(one, measured.zone)),
    quarantined: claims.quarantined, plan_sha256: planDigest, issued: claims.issued,
    software: { name: "joulemark", version: claims.software.version, source_sha256: claims.software.sha256 },
    limits: limitsOf(clock, used), series: seriesOf(measured),
  };
  if (account === null) return report;
  const doubt = bigSum([measured.before, measured.after].map((units) => doubtOf(streams[0], units)));
  const total = bigSum([measured.before, measured.after].map(({ totals }) => bigSum(totals[0].total)));
  return {
    ...report, format: "joulemark-report/2", account: accountOf(account, measured.zone),
    corrections: correctionsOf(account, measured, without, parts),
    time_quality: { ...report.time_quality, energy_kwh: kwh(total), unsynchronised_kwh: kwh(doubt),
      unsynchronised_energy_percent: share(doubt, total) },
  };
}

const NOTHING = { headline: null, saving: null, months: [], carbon: null, creditable: null, split: null, factors: [] };

function projectOf(plan) {
  const { id, title, site, measure, time_zone: zone, energy, unit, factors } = plan;
  return {
    id, title, site, time_zone: zone, energy, unit, factors, measure,
    drivers: (plan.drivers ?? []).map(({ name, device, point, synthetic }) => ({ name, device, point, synthetic })),
    production_cycle_days: plan.production_cycle_days, sufficiency_policy: plan.sufficiency_policy,
    creditable_policy: plan.creditable_policy, confidence_percent: significant(scaled(decimalOf(plan.confidence), 2), 6),
  };
}

/** The field `plan`; nothing where the plan states nothing besides and the log has no registration. */
function statedPlan(plan, planDigest, account, { zone, after }) {
  const dated = account === null ? null : datedOf(account, planDigest);
  const { option = null, boundary = null, responsible = null } = plan;
  const factors = plan.static_factors ?? [];
  if (dated === null && factors.length === 0 && [option, boundary, responsible].every((one) => one === null)) return {};
  return {
    plan: {
      option, boundary, responsible,
      static_factors: factors.map((one) => ({ name: one.name, value: significant(decimalOf(one.value), 10), unit: one.unit,
        source: one.source, if_changed: one.if_changed, estimated: one.estimated ?? false })),
      registered: dated === null ? null : registeredOf(dated, after.grid.edges[0], zone),
    },
  };
}

function registeredOf({ content, key, position, time, cosigned, versions }, start, zone) {
  const seen = cosigned === null ? null : Number(cosigned.time) * 1e6;
  return {
    author: content.author, role: content.role, operator: fingerprint(key), sha256: content.plan_sha256,
    log_leaf: text(position), logged: localTime(time, zone),
    cosigned_by: cosigned === null ? null : { name: cosigned.name, time: localTime(seen, zone) },
    before_reporting: time >= start ? "nobody" : seen !== null && seen < start ? "witness" : "collector",
    versions: text(versions),
  };
}

function periodOfUnits({ plan, streams }, { dates, units, kept, totals }) {
  const [covered, estimated, missing] = ["covered", "estimated", "missing"].map((name) => sumOf(totals[0][name]));
  const whole = covered + estimated + missing;
  const keptTotal = (k) => bigSum(kept.map(({ measured }) => measured[k]));
  return {
    from: dates.from, last_day: dayText(dayNumber(dates.to) - 1), to_exclusive: dates.to, units: text(units.length),
    kept: text(kept.length), masked: text(units.length - kept.length), energy_kwh: kwh(bigSum(totals[0].total)),
    kept_energy_kwh: kwh(keptTotal(0)), kept_drivers: (plan.drivers ?? []).map(({ name }, j) => ({
      name, unit: shownUnit(streams[j + 1].unit), value: shown(streams[j + 1].unit, keptTotal(j + 1)) })),
    covered_percent: share(covered, whole), estimated_percent: share(estimated, whole), missing_percent: share(missing, whole),
  };
}

function savingFields({ saving, plan, before, after }) {
  const { carbon } = saving;
  const [avoided, half] = withHalfWidth(saving.avoided / 1000, saving.halfWidth / 1000);
  const [avoidedT, halfT] = withHalfWidth(carbon.avoided / 1000, carbon.halfWidth / 1000);
  const confidence = significant(saving.confidence * 100, 6);
  const ratio = saving.counterfactual ? saving.avoided / saving.counterfactual : 0;
  const isClear = Math.abs(saving.avoided) > saving.halfWidth;
  const baseline = fsum(before.y);
  return {
    headline: {
      avoided_kwh: avoided, half_width_kwh: half, avoided_percent: places(ratio * 100, 2), avoided_t: avoidedT,
      half_width_t: halfT, confidence_percent: confidence, distinguishable_from_zero: isClear,
      creditable_t: places(saving.creditableKg / 1000, (avoidedT.split(".")[1] ?? "").length),
      creditable_policy: `${plan.creditable_policy} 1`, sufficiency_policy: `${POLICY} 1`,
    },
    saving: {
      policy: `${POLICY} 1`, counterfactual_kwh: kwh(saving.counterfactual), measured_kwh: kwh(saving.measured),
      avoided_kwh: kwh(saving.avoided), avoided_percent: percent(ratio), confidence_percent: confidence,
      half_width_kwh: kwh(saving.halfWidth), low_kwh: kwh(saving.avoided - saving.halfWidth),
      high_kwh: kwh(saving.avoided + saving.halfWidth), half_width_90_kwh: kwh(saving.halfWidth90),
      half_width_95_kwh: kwh(saving.halfWidth95), standard_error_kwh: kwh(saving.error),
      degrees_of_freedom: places(saving.degrees, 2), distinguishable_from_zero: isClear,
      without_exclusions_kwh: orNull(kwh, saving.without),
    },
    months: saving.months.map((one) => ({ month: one.month, kept: text(one.kept), masked: text(one.masked),
      measured_kwh: kwh(one.measured), counterfactual_kwh: kwh(one.predicted), avoided_kwh: kwh(one.avoided),
      half_width_kwh: kwh(one.halfWidth) })),
    carbon: {
      avoided_t: tonnes(carbon.avoided), half_width_t: tonnes(carbon.halfWidth), half_width_90_t: tonnes(carbon.halfWidth90),
      half_width_95_t: tonnes(carbon.halfWidth95), from_energy_t: tonnes(carbon.fromEnergy),
      from_factor_t: tonnes(carbon.fromFactor), standard_uncertainty_t: tonnes(carbon.combined),
      degrees_of_freedom: places(carbon.degrees, 2), unit: "t CO2e",
    },
    creditable: {
      avoided_kwh: kwh(saving.avoided), half_width_90_kwh: kwh(saving.halfWidth90), creditable_kwh: kwh(saving.creditable),
      avoided_t: tonnes(carbon.avoided), half_width_90_t: tonnes(carbon.halfWidth90),
      creditable_t: tonnes(saving.creditableKg), policy: { id: plan.creditable_policy, version: "1" },
    },
    split: {
      baseline_kwh: kwh(baseline), baseline_units: text(before.kept.length), reporting_kwh: kwh(saving.measured),
      reporting_units: text(after.kept.length), change_kwh: kwh(baseline - saving.measured),
      activity_kwh: kwh(baseline - saving.counterfactual), efficiency_kwh: kwh(saving.avoided),
    },
    factors: carbon.uses.map(({ factor, days, avoided: wh, kg }) => ({
      id: factor.id, factor_kg_per_kwh: text(factor.factor_kg_per_kwh), standard_uncertainty_percent:
      percent(decimalOf(factor.standard_uncertainty_ratio)), uncertainty_source: factor.uncertainty_source,
      boundary: factor.boundary, jurisdiction: factor.jurisdiction, rule_sets: factor.rule_sets,
      valid_from: factor.valid_from, valid_to_exclusive: factor.valid_to, published: factor.published,
      source: factor.source, first_day: days[0], last_day: days.at(-1), kept: text(days.length), avoided_kwh: kwh(wh),
      avoided_t: tonnes(kg) })),
  };
}

function modelOf({ plan, model, noise, streams, before, after }) {
  const names = ["base load", ...plan.drivers.map(({ name }) => name)];
  const units = [`Wh/${plan.unit}`, ...streams.slice(1).map(({ unit }) => `Wh/${unit}`)];
  const middle = mean(model.y);
  const levers = model.x.map((one) => leverage(model, one));
  const inKwh = (unit, value) => (unit === "Wh/kg" ? value : value / 1000);
  const probability = (value) => (Number(places(value, 6)) ? places(value, 6) : "<0.000001");
  return {
    unit: plan.unit, n: text(model.n), p: text(model.p),
    coefficients: names.map((name, j) => {
      const error = Math.sqrt(model.variance * model.inverse[j][j]);
      const t = error > 0 ? model.beta[j] / error : null;
      return {
        name, unit: units[j].split("/").map(shownUnit).join("/"), value: significant(inKwh(units[j], model.beta[j]), 8),
        standard_error: significant(inKwh(units[j], error), 6), t_value: orNull((one) => significant(one, 6), t),
        p_value: orNull((one) => probability(2 * tail(Math.abs(one), model.n - model.p)), t),
        vif: j ? significant(model.inverse[j][j] * spread(model.x.map((one) => one[j])), 6) : null,
      };
    }),
    drivers: plan.drivers.map(({ name }, j) => {
      const { unit } = streams[j + 1];
      const [values, now] = [before.x.map((one) => one[j + 1]), after.x.map((one) => one[j + 1])];
      const [low, high] = [Math.min(...values), Math.max(...values)];
      const beyond = 0.05 * (high - low);
      const outside = now.filter((value) => value < low - beyond || value > high + beyond).length;
      return {
        name, unit: shownUnit(unit), baseline_min: shown(unit, low), baseline_max: shown(unit, high),
        baseline_mean: shown(unit, mean(values)), baseline_sd: shown(unit, sd(values)),
        reporting_mean: now.length ? shown(unit, mean(now)) : null, outside_percent: percent(now.length ? outside / now.length : 0),
      };
    }),
    residual_sd_kwh: kwh(Math.sqrt(model.variance)), r2: places(1 - model.sse / model.sst, 6),
    adjusted_r2: places(adjusted(model), 6), press_r2: Math.max(...levers) > 1 - 1e-9 ? null
      : places(1 - fsum(model.e.map((e, i) => (e / (1 - levers[i])) ** 2)) / model.sst, 6),
    cv_rmse_percent: percent(Math.sqrt(model.variance) / middle),
    nmbe_percent: percent(fsum(model.e) / ((model.n - model.p) * middle)), rho: places(noise.rho, 6),
    rho_used: places(noise.r, 6), effective_n: places(noise.effective, 2),
    high_leverage_percent: percent(after.x.length
      ? after.x.filter((one) => leverage(model, one) > (2 * model.p) / model.n).length / after.x.length : 0),
  };
}

const claimOf = ({ width, cells, intervals, predicted, measured }) => ({
  model: "time of week", code: "no_activity_driver", by: POLICY, version: "1",
  interval_minutes: significant(width / 60_000_000, 6), cells: text(cells), intervals: text(intervals),
  predicted_kwh: kwh(predicted), measured_kwh: kwh(measured), would_have_claimed_kwh: kwh(predicted - measured),
  would_have_claimed_percent: percent((predicted - measured) / predicted),
});

// --- coverage and holes --------------------------------------------------------------------------

const boundsOf = ({ before, after }) => [before, after].map(({ grid }) => [grid.edges[0], grid.edges.at(-1)]);
const eventsIn = (measured, { events }) =>
  events.filter(({ at }) => boundsOf(measured).some(([start, end]) => start < at && at <= end));

function recordsIn(measured, { tree }) {
  return tree.records.filter(({ slot }) => boundsOf(measured).some(([start, end]) => start < slot && slot <= end));
}

function slotsIn(measured, spans, period) {
  return sumOf(boundsOf(measured).flatMap(([start, end]) => spans.map(({ first, last }) => {
    const [low, high] = [Math.max(first, start + 1), Math.min(last, end)];
    return low <= high ? Math.floor(high / period) - Math.floor((low - 1) / period) : 0;
  })));
}

function coverageOf(measured, stream, k, isSecond) {
  const { tree, point, profile } = stream;
  const driver = k ? measured.plan.drivers[k - 1] : null;
  const [covered, estimated, missing] = ["covered", "estimated", "missing"].map((name) =>
    sumOf([measured.before, measured.after].map(({ totals }) => sumOf(totals[k][name]))));
  const whole = covered + estimated + missing;
  const readings = recordsIn(measured, stream).length;
  const [gaps, withheld, lost] = [tree.gaps, stream.withheld, stream.lost].map((s) => slotsIn(measured, s, stream.period));
  const events = eventsIn(measured, stream).map(({ code }) => code);
  const count = (...codes) => text(events.filter((code) => codes.includes(code)).length);
  return {
    role: k ? "driver" : "energy", device: tree.device, epoch: tree.epoch, point: point.name,
    name: driver ? driver.name : "energy", unit: stream.unit, synthetic: Boolean(profile.synthetic || driver?.synthetic),
    readings: text(readings), gap_slots: text(gaps), slots: text(readings + gaps + withheld + lost),
    counter_fell: count("reset", "replacement"), false_zeros: count("false_zero", "wake_up_zero"),
    covered_hours: hours(covered), estimated_hours: hours(estimated), missing_hours: hours(missing),
    covered_percent: share(covered, whole), estimated_percent: share(estimated, whole), missing_percent: share(missing, whole),
    ...(isSecond ? { withheld: text(withheld), lost: text(lost) } : {}),
  };
}

function widened(spans, width) {
  const wide = [];
  for (const span of spans) {
    const [start, end] = [Math.floor(span.start / width) * width, Math.ceil(span.end / width) * width];
    const last = wide.at(-1);
    const isAlike = last && last.isEstimated === span.isEstimated && text(last.reasons) === text(span.reasons);
    if (last && (start < last.end || (start === last.end && isAlike))) {
      last.end = Math.max(end, last.end);
      last.reasons = [...new Set([...last.reasons, ...span.reasons])];
      last.isEstimated &&= span.isEstimated;
    } else wide.push({ ...span, start, end });
  }
  return wide;
}

function holes(measured) {
  const { streams, zone } = measured;
  const missing = streams.flatMap((stream) => {
    const spans = boundsOf(measured).flatMap(([start, end]) => spansIn(stream, start, end));
    return widened(spans, stream.width).map(({ start, end, isEstimated, reasons }) => ({
      device: stream.tree.device, point: stream.point.name, start: localTime(start, zone), end: localTime(end, zone),
      intervals: text((end - start) / stream.width), hours: hours(end - start), known: isEstimated ? "sum only" : "nothing",
      reasons }));
  });
  const events = streams.flatMap((stream) => eventsIn(measured, stream).map((event) => ({
    device: stream.tree.device, point: stream.point.name, code: event.code, start: localTime(event.start, zone),
    at: localTime(event.at, zone), before: text(event.before), after: text(event.after), booked: text(event.booked) })));
  const rows = allUnits(measured);
  const part = ({ period, unit }) => ({ period, unit: unit.label, reasons: unit.reasons,
    covered_percent: share(unit.worst.covered, unit.end - unit.start), energy_kwh: kwh(unit.measured[0]) });
  return {
    missing, counter_events: events.slice(0, 1000), counter_events_in_all: text(events.length),
    masked: rows.filter(({ unit }) => !unit.isKept).map(part),
    partial: rows.filter(({ unit }) => unit.isKept && unit.reasons.length).map(part),
  };
}

const allUnits = ({ before, after }) => [...before.units.map((unit) => ({ period: "baseline", unit })),
  ...after.units.map((unit) => ({ period: "reporting", unit }))];

function seriesOf(measured) {
  const { saving, streams, plan, before, after } = measured;
  const rows = allUnits(measured);
  const [fitted, predicted, avoided, sums, widths] = [new Map(), new Map(), new Map(), new Map(), new Map()];
  if (saving) {
    before.kept.forEach((unit, i) => fitted.set(unit, saving.fitted[i]));
    after.kept.forEach((unit, i) => {
      predicted.set(unit, saving.predicted[i]);
      avoided.set(unit, saving.units[i]);
      sums.set(unit, saving.sums[i]);
      widths.set(unit, saving.widths[i]);
    });
  }
  const column = (of) => rows.map(({ unit }) => orNull(kwh, of.get(unit)));
  return {
    label: rows.map(({ unit }) => unit.label), period: rows.map(({ period }) => period),
    state: rows.map(({ unit }) => (unit.worst.missing ? "missing" : unit.worst.estimated ? "estimated" : "measured")),
    kept: rows.map(({ unit }) => unit.isKept),
    covered_percent: rows.map(({ unit }) => share(unit.worst.covered, unit.end - unit.start)),
    energy_kwh: rows.map(({ unit }) => kwh(unit.measured[0])),
    drivers: (plan.drivers ?? []).map(({ name }, j) => ({ name, unit: shownUnit(streams[j + 1].unit),
      values: rows.map(({ unit }) => shown(streams[j + 1].unit, unit.measured[j + 1])) })),
    counterfactual_kwh: column(new Map([...fitted, ...predicted])), avoided_kwh: column(avoided), cumulative_kwh: column(sums),
    cumulative_half_width_kwh: column(widths),
  };
}

// --- evidence ------------------------------------------------------------------------------------

function usedOf({ tree, profile, files }, documents) {
  const heads = files.notes.map((note) => ({ ...headOf(note), lines: parseNote(note).lines.length }));
  const period = periodOf(tree, documents);
  const [withheld, lost] = [withheldSlots(tree, period), lostSlots(tree)];
  const spans = [...tree.records.map(({ slot }) => ({ first: slot, last: slot })), ...tree.gaps, ...withheld, ...lost];
  const last = heads.at(-1);
  return {
    tree, profile, device: tree.device, epoch: tree.epoch, heads: heads.length, size: last.size, root: last.root,
    witnessed: Math.max(0, ...heads.filter(({ lines }) => lines > 1).map(({ size }) => size)),
    withheld: sumOf(withheld.map(({ slots }) => slots)), lost: sumOf(lost.map(({ slots }) => slots)),
    gapSlots: sumOf(tree.gaps.map(({ slots }) => slots)),
    first: spans.length ? spans.reduce((least, { first }) => Math.min(least, first), Infinity) : null,
    last: spans.length ? spans.reduce((most, { last: one }) => Math.max(most, one), -Infinity) : null,
  };
}

function evidenceOf(one, zone) {
  const { tree, profile } = one;
  const records = tree.records.length;
  return {
    origin: tree.origin, device: tree.device, epoch: tree.epoch, clock: tree.clock, agent: tree.grant.agent,
    agent_key: keysOf(decode64(tree.grant.agent_key), tree.rotations).map(fingerprint).join(", "), size: text(one.size),
    root: one.root, first_leaf: "0", last_leaf: text(one.size - 1), heads: text(one.heads), records: text(records),
    gap_slots: text(one.gapSlots), slots: text(records + one.gapSlots + one.withheld + one.lost),
    ...(one.withheld ? { withheld: text(one.withheld) } : {}), ...(one.lost ? { lost: text(one.lost) } : {}),
    first_slot: orNull((us) => localTime(us, zone), one.first), last_slot: orNull((us) => localTime(us, zone), one.last),
    documents: tree.grant.documents, profile: { model: profile.model, source: profile.source,
      confidence: profile.confidence, synthetic: profile.synthetic ?? false },
  };
}

function gapsOf(parts, used, zone) {
  return used.flatMap(({ tree }) => tree.gaps.map((gap) => ({ device: tree.device, first_slot: localTime(gap.first, zone),
    last_slot: localTime(gap.last, zone), slots: text(gap.slots), cause: gap.cause })));
}

function timeQuality(measured, used) {
  const rows = measured.streams.flatMap((stream) => recordsIn(measured, stream));
  const doubt = rows.filter(({ sync }) => !["ntp", "simulated"].includes(sync)).length;
  const leaves = sumOf(used.map(({ size }) => size));
  const unattested = leaves - sumOf(used.map(({ witnessed }) => witnessed));
  return { readings: text(rows.length), unsynchronised: text(doubt), unsynchronised_percent: share(doubt, rows.length),
    leaves: text(leaves), unattested: text(unattested), unattested_percent: share(unattested, leaves) };
}

/** What of a stream's totals was counted from or to a reading whose clock was not set. */
function doubtOf({ nodes, tree }, { grid }) {
  const isDoubtful = ({ index }) => !["ntp", "simulated"].includes(tree.records[index].sync);
  const kept = nodes.map((node, k) => (k && (isDoubtful(node) || isDoubtful(nodes[k - 1])) ? node : { ...node, kind: 0 }));
  return bigSum(totalsOf(kept, grid.edges).total);
}

function limitsOf(clock, used) {
  const isIn = { replayed: clock === "simulated", plain_modbus: true, not_logged: true,
    synthetic: used.some(({ profile }) => profile.synthetic), no_conformity: true,
    withheld: used.some(({ withheld }) => withheld > 0) };
  return Object.keys(isIn).filter((code) => isIn[code]);
}

// --- the collector's log -------------------------------------------------------------------------

function accountOf({ newest, notes, heads, entries, tokens }, zone) {
  const { text: signed, lines } = parseNote(notes.at(-1));
  const closings = entries.filter(({ kind }) => kind === "heads");
  const cosigned = lines.filter(({ name, body }) => name !== newest.origin && body.length === 72)
    .map(({ name, body }) => ({ name, time: Number(body.readBigUInt64BE(0)) }));
  cosigned.sort((one, other) => byCode(one.name, other.name) || one.time - other.time);
  const stamps = [...tokens].sort((one, other) => Number(BigInt(one.size) - BigInt(other.size)) || byCode(one.name, other.name));
  return {
    origin: newest.origin, size: newest.sizeText, root: newest.root, text: signed,
    closed: closings.length ? localTime(closings.at(-1).time, zone) : null, heads: text(heads.length),
    leaves: text(entries.length), cosigned_by: cosigned.map(({ name, time }) => ({ name, time: localTime(time * 1e6, zone) })),
    time_stamps: stamps.map(({ size, name, data }) => ({ authority: name, size, sha256: digest(data) })),
  };
}

function correctionsOf(account, measured, without, parts) {
  const listed = correctionsIn(account).flatMap((item) => {
    const part = [...parts.values()].find(({ tree }) => tree.origin === item.content.origin);
    return part ? [listedOf(item, part.tree)] : [];
  });
  return { listed, with: without === null ? null : totals(measured), without: without === null ? null : totals(without) };
}

function listedOf(item, tree) {
  const { content } = item;
  const readings = readingsOf(item, tree);
  const old = ({ val, q }) => {
    const [value, code] = [val[content.point], q[content.point]];
    return code === undefined ? text(value) : value === undefined ? code : `${value} (${code})`;
  };
  return {
    digest: item.digest, origin: content.origin, first_leaf: content.first_seq, last_leaf: content.last_seq,
    readings: text(readings.length), point: content.point, treatment: content.treatment, old_first: old(readings[0]),
    old_last: old(readings.at(-1)), new: content.value, withdraws: content.withdraws, counts: item.inForce,
    reason: content.reason, who: content.who, operator: fingerprint(item.key), log_leaf: text(item.position),
  };
}

function totals(measured) {
  if (measured.code) return { refused_because: [measured.code] };
  const { saving, findings, before, after } = measured;
  const energy = ({ totals: rows }) => kwh(bigSum(rows[0].total));
  return {
    refused_because: saving ? [] : findings.filter(({ passed }) => !passed).map(({ code }) => code),
    baseline_kwh: energy(before), reporting_kwh: energy(after), avoided_kwh: saving ? kwh(saving.avoided) : null,
    half_width_kwh: saving ? kwh(saving.halfWidth) : null, avoided_t: saving ? tonnes(saving.carbon.avoided) : null,
  };
}
