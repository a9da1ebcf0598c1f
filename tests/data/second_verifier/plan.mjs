// Emission factors and the plan (docs/format.md, 11.1 and 11.2).

import { Refused, isInteger, isObject, isText } from "./bytes.mjs";
import { decimalOf } from "./decimals.mjs";
import { dayNumber } from "./zone.mjs";

const FACTOR = ["id", "factor_kg_per_kwh", "standard_uncertainty_ratio", "uncertainty_source", "boundary",
  "jurisdiction", "rule_sets", "valid_from", "valid_to", "published", "source"];
const PLAN = ["id", "title", "site", "measure", "time_zone", "energy", "baseline", "reporting", "unit",
  "production_cycle_days", "sufficiency_policy", "confidence", "creditable_policy", "factors"];
const STATIC = ["name", "value", "unit", "source", "if_changed"];
const DATE = /^\d{4}-\d\d-\d\d$/;

/** Refuse what is no factor set. */
export function checkFactors(set) {
  const isOne = (one) => isObject(one) && FACTOR.every((name) => Object.hasOwn(one, name))
    && Object.keys(one).every((name) => FACTOR.includes(name) || name === "supersedes")
    && decimalOf(one.factor_kg_per_kwh) !== null && decimalOf(one.standard_uncertainty_ratio) !== null
    && Array.isArray(one.rule_sets) && [one.valid_from, one.valid_to].every((day) => isText(day) && DATE.test(day));
  const fits = isObject(set) && isText(set.factor_set) && Array.isArray(set.factors) && set.factors.length > 0
    && set.factors.every(isOne);
  if (!fits) throw new Refused("bad_document", "factors");
}

/** The one factor of a local day; null: none or several. */
export function factorOn(set, ruleSet, jurisdiction, day) {
  const fits = set.factors.filter((one) => one.rule_sets.includes(ruleSet) && one.jurisdiction === jurisdiction
    && dayNumber(one.valid_from) <= day && day < dayNumber(one.valid_to));
  return fits.length === 1 ? fits[0] : null;
}

const isSaid = (text) => isText(text) && [...text].length >= 1 && [...text].length <= 1000;
const isMaybe = (one, fits) => one === undefined || one === null || fits(one);

/** Whether what a plan states besides fits together: option, boundary, static factors. */
function isStated({ option = null, boundary = null, responsible, static_factors: factors = [] }) {
  const isFactor = (one) => isObject(one) && STATIC.every((name) => Object.hasOwn(one, name))
    && Object.keys(one).every((name) => STATIC.includes(name) || name === "estimated")
    && ["name", "unit", "source", "if_changed"].every((name) => isSaid(one[name]))
    && (isText(one.value) || isInteger(one.value)) && decimalOf(one.value) !== null
    && ["boolean", "undefined"].includes(typeof one.estimated);
  const fits = isMaybe(option, (one) => ["A", "B", "C"].includes(one)) && isMaybe(boundary, isSaid)
    && isMaybe(responsible, isSaid) && Array.isArray(factors) && factors.length <= 100 && factors.every(isFactor);
  if (!fits) return false;
  const isEstimating = factors.some(({ estimated }) => estimated);
  return new Set(factors.map(({ name }) => name)).size === factors.length && isEstimating === (option === "A")
    && (option === null || boundary !== null);
}

/** Refuse what is no plan, or not of the site. */
export function checkPlan(plan) {
  const isDates = (one) => isObject(one) && [one.from, one.to].every((day) => isText(day) && DATE.test(day))
    && one.from < one.to;
  const isPoint = (one) => isObject(one) && isText(one.device) && isText(one.point);
  const fits = isObject(plan) && PLAN.every((name) => Object.hasOwn(plan, name)) && isPoint(plan.energy)
    && (plan.drivers ?? []).every(isPoint) && isDates(plan.baseline) && isDates(plan.reporting)
    && ["day", "hour"].includes(plan.unit) && isInteger(plan.production_cycle_days) && isObject(plan.measure)
    && plan.baseline.to <= plan.measure.implemented && plan.measure.implemented <= plan.reporting.from
    && plan.sufficiency_policy === "iso50006-production" && isObject(plan.factors)
    && (plan.non_routine ?? []).every((item) => isDates(item.dates)) && isStated(plan);
  if (!fits) throw new Refused("bad_plan", "the plan is none");
}
