// The layers decode and recompute (docs/format.md, 8.5, 11 and 12).

import { Refused, Undecided, digest, equal, isObject, isText, parse, u64 } from "./bytes.mjs";
import { stated } from "./bundle.mjs";
import { checkEnergy } from "./counting.mjs";
import { decodeAll } from "./decode.mjs";
import { correctionsIn } from "./log.mjs";
import { measure } from "./measure.mjs";
import { checkFactors, checkPlan } from "./plan.mjs";
import { profileOf } from "./profile.mjs";
import { reportOf } from "./report.mjs";
import { rowOf, siteOf } from "./site.mjs";

const CODES = ["decode_mismatch", "envelope_energy"];
const POLICY = "iso50006-production";

/** Layer `decode`; what it decodes stays with the records. */
export function* checkDecode({ trees, documents }) {
  for (const tree of trees) {
    try {
      const profile = profileOf(tree, documents);
      for (const record of tree.records) {
        record.decoded = decodeAll(profile, record.raw);
        const { values, quality } = record.decoded;
        if (!equal(values, record.val) || !equal(quality, record.q)) {
          throw new Refused("decode_mismatch", `leaf ${record.seq}`);
        }
      }
      checkEnergy(tree, profile, documents);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      if (CODES.includes(error.code)) yield error.code;
    }
  }
  for (const tree of trees) checkFigures(tree, documents);
}

function checkFigures(tree, documents) {
  let wanted;
  try {
    wanted = rowOf(siteOf(tree, documents), tree.device).figures_every_s ?? null;
  } catch {
    return; // the layer of documents says so
  }
  const others = tree.figures.filter(({ fields }) => fields.version !== "1");
  if (others.length && others.length === tree.figures.length) return;
  if (wanted !== null || tree.figures.length) throw new Undecided("a statement of figures");
}

/** Layer `recompute`. */
export function* checkReport(bundle) {
  let computed;
  try {
    computed = issued(bundle);
  } catch (error) {
    if (error instanceof Undecided) throw error;
    return yield "not_recomputed";
  }
  const { members } = bundle.bundle;
  let printed = null;
  try {
    printed = repeated(parse(members.get("report.json")));
  } catch {
    // below
  }
  const plan = planIn(bundle);
  if (plan.model && printed !== null) {
    if (isUnread(printed)) throw new Undecided("a rule that is not recomputed here refuses or is passed over");
    printed = withoutEngine(printed, computed.format);
  }
  if (printed === null || !equal(printed, computed)) yield "report_differs";
  if (!equal(predicateOf(bundle, computed), bundle.statement.value.predicate)) yield "statement_differs";
  if (plan.model) throw new Undecided("what a plan with a model adds to its report is not recomputed here");
}

const ENGINE = "joulemark-report/3";
const planIn = ({ bundle }) => parse(bundle.members.get("plan.json"));

/** Whether a plan's model is the straight line that is fitted here, under rules that are judged here. */
function isLine({ model, drivers = [], meter, override, non_routine: events = [] }) {
  const isSet = !model.selection_policy || drivers.length === 1; // one driver leaves nothing to choose
  return model.family === "production" && isSet && !meter && !override
    && events.every(({ treatment }) => treatment === "exclude");
}

/** Whether a rule of format 3 that is not judged here decides. */
function isUnread({ findings }) {
  return Array.isArray(findings) && findings.some(({ by, passed }) => by !== POLICY && by !== "engine" && passed !== true);
}

/** A report of format 3 as the format of before says it; null where its format is another. */
function withoutEngine({ engine, format, findings, ...others }, before) {
  if (format !== ENGINE || !isObject(engine) || !Array.isArray(findings)) return null;
  return { ...others, format: before, findings: findings.filter(({ by }) => by === POLICY || by === "engine") };
}

function issued({ bundle, statement, places, documents, account }) {
  if (!statement.value || places.length === 0 || places.some(({ tree }) => !tree)) throw new Error("unread");
  if (account.error) throw new Error("the log cannot be read");
  const claims = claimsOf(statement.value.predicate);
  const planBytes = bundle.members.get("plan.json");
  const plan = parse(planBytes);
  const parts = new Map();
  for (const { tree, files, device } of places) {
    const profile = profileOf(tree, documents);
    if (parts.has(device)) throw new Refused("device_twice", device);
    for (const record of tree.records) record.decoded ??= decodeAll(profile, record.raw);
    if (tree.runs.length) checkEnergy(tree, profile, documents);
    parts.set(tree.device, { tree, profile, files });
  }
  const named = new Set([...parts.values()].map(({ tree }) => tree.grant.documents.factors));
  if (named.size !== 1) throw new Refused("factors_differ", "several");
  if (isObject(plan) && isObject(plan.model) && !isLine(plan)) throw new Undecided("this model is not recomputed here");
  checkPlan(plan);
  for (const { tree } of parts.values()) {
    const site = siteOf(tree, documents);
    const isHere = site.time_zone === plan.time_zone && site.factors.jurisdiction === plan.factors.jurisdiction;
    if (!isHere) throw new Refused("plan_of_another_place", tree.origin);
  }
  const meter = parts.get(plan.energy.device)?.profile;
  const isOfSite = plan.option !== "C" || meter === undefined || String(meter.kind).endsWith("_meter");
  if (!isOfSite) throw new Refused("option_contradicted", meter.kind);
  const factors = parse(documents.get([...named][0]));
  checkFactors(factors);
  const log = account.value ?? null;
  const origins = new Set([...parts.values()].map(({ tree }) => tree.origin));
  const inForce = (log ? correctionsIn(log) : [])
    .filter(({ inForce: counts, content }) => counts && origins.has(content.origin) && content.treatment !== "withdrawn");
  for (const { content } of inForce) checkPoint(content, parts);
  const measured = measure(plan, parts, documents, factors, inForce);
  const without = inForce.length ? uncorrected(plan, parts, documents, factors) : null;
  return reportOf(measured, without, parts, documents, plan, claims, digest(planBytes), log);
}

function checkPoint(content, parts) {
  const part = [...parts.values()].find(({ tree }) => tree.origin === content.origin);
  if (!part.profile.points.some(({ name }) => name === content.point)) throw new Refused("correction_position", "point");
}

function uncorrected(plan, parts, documents, factors) {
  try {
    return measure(plan, parts, documents, factors, []);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return { code: error.code };
  }
}

function claimsOf({ issued: time, software, quarantined }) {
  const fits = isText(time) && isText(software?.version) && isText(software?.sha256) && isObject(quarantined)
    && Object.values(quarantined).every((count) => u64(count) !== null);
  if (!fits) throw new Refused("bad_statement", "claims");
  return { issued: time, software, quarantined };
}

/** The report without the words that are not repeated. */
function repeated(report) {
  const { warnings, ...found } = report;
  const without = (one, ...names) => {
    if (!isObject(one)) return one;
    const kept = Object.entries(one).filter(([name]) => !names.includes(name));
    return Object.fromEntries(kept);
  };
  const isList = Array.isArray(warnings);
  return {
    ...found, banners: found.banners.map(({ code }) => code), limits: found.limits.map(({ code }) => code),
    findings: found.findings.map((one) => without(one, "rule")), policy: without(found.policy, "text", "source"),
    refused_claims: found.refused_claims.map((one) => without(one, "why")), model: without(found.model, "kind"),
    creditable: found.creditable && { ...found.creditable, policy: without(found.creditable.policy, "text", "source") },
    ...(isList ? {} : { warnings: null }),
  };
}

function predicateOf({ claimed, places, statement, account }, report) {
  if (claimed === null) return null;
  const trees = report.evidence;
  const { issued: time, software, quarantined } = statement.value.predicate;
  const heads = trees.map(({ origin, root, size }) => ({ origin, root, size }))
    .sort((one, other) => (one.origin < other.origin ? -1 : 1));
  const first = {
    documents: [...new Set(places.flatMap(({ tree }) => Object.values(tree.grant.documents)))].sort(), heads,
    issued: time, plan: report.plan_sha256, quarantined, signers: stated(claimed),
    software: { sha256: software.sha256, version: software.version }, v: 1,
  };
  if (!account.value) return first;
  const { origin, root, size } = report.account;
  return {
    ...first, baseline: report.periods.baseline, corrections: report.corrections.listed.map((item) => item.digest),
    coverage: report.coverage, exclusions: report.exclusions, log: { origin, root, size },
    time_quality: report.time_quality, v: 2,
  };
}
