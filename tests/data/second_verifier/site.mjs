// What the approved site document says of a device (docs/format.md, 8.3).

import { Refused, isInteger, isObject, parse } from "./bytes.mjs";

function documentOf(tree, documents, name) {
  const found = documents.get(tree.grant.documents[name]);
  if (found === undefined) throw new Refused("document_missing", name);
  return parse(found);
}

export const siteOf = (tree, documents) => documentOf(tree, documents, "site");
export const profileDocument = (tree, documents) => documentOf(tree, documents, "profile");
export const factorsOf = (tree, documents) => documentOf(tree, documents, "factors");

/** The row of a device, empty where there is none. */
export function rowOf(site, device) {
  const rows = isObject(site) && Array.isArray(site.devices) ? site.devices : [];
  return rows.find((row) => isObject(row) && row.id === device) ?? {};
}

/** From slot to slot of the device. [us] */
export function periodOf(tree, documents) {
  const site = siteOf(tree, documents);
  if (!isObject(site) || !Array.isArray(site.devices)) throw new Refused("bad_document", "site");
  const period = Number(rowOf(site, tree.device).period_s);
  if (!isInteger(period) || period <= 0) throw new Refused("document_missing", "no period");
  return period * 1_000_000;
}

/** The interval of committed evidence; null: it is full. [us] */
export function intervalOf(tree, documents) {
  const site = siteOf(tree, documents);
  const mode = isObject(site) ? (site.evidence ?? "full") : null;
  if (mode === "full") return null;
  const interval = site?.interval_s;
  const fits = isInteger(interval) && interval >= 60 && interval <= 3600 && 86400 % interval === 0;
  if (mode !== "committed" || !fits) throw new Refused("bad_document", "evidence");
  return interval * 1_000_000;
}
