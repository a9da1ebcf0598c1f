// Leaves, grants, changes of key; a tree read from its parts (docs/format.md, 7 and 8.2).

import {
  Refused, decode64, hasKeys, isId, isInteger, isObject, isText, parse, timeOf, u64, writeBytes,
} from "./bytes.mjs";
import { isSigned, numbered } from "./trees.mjs";

const RECORD = "boot dev epoch q raw seq slot t_mono_ns t_utc_us tq v val".split(" ");
const COMMON = "dev epoch seq type v".split(" ");
const EVENTS = {
  epoch_start: "grant operator_signature t_utc_us",
  boot: "boot t_mono_ns t_utc_us",
  gap: "cause first_slot last_slot slots",
  batch: "documents energy first_seq first_slot gap_slots last_seq last_slot previous records sealed_us slots time values",
  figures: "absent end figures findings first_seq last_seq start version",
  discontinuity: "first_seq first_slot last_seq last_slot slots why head old_epoch",
  key_rotation: "new_key new_signature old_key old_signature",
  archive_trimmed: "first_seq last_seq origin",
  raw_request: "answer batches request signature",
};
const WHOLE = /^(0|[1-9][0-9]{0,17})$/;
const DECIMAL = /^-?[0-9]{1,40}(\.[0-9]{1,40})?$/;
const NAME = /^(?!u_)[a-z][a-z0-9_]{0,62}$/;

const bad = (code, what) => new Refused(code, what);

/** The content of a leaf of a form that is known. */
export function parseLeaf(leaf) {
  if (leaf.length > 2 * 1024 * 1024) throw bad("bad_leaf", "too long");
  const content = parse(leaf);
  if (!isObject(content) || !isInteger(content.v)) throw bad("bad_leaf", "no version");
  if (content.v !== 1) throw bad("unknown_version", String(content.v));
  if (!hasForm(content) || !isInteger(content.epoch) || !Object.hasOwn(content, "dev")) {
    throw bad("bad_leaf", "no known form");
  }
  return content;
}

function hasForm(content) {
  const isLater = Object.hasOwn(content, "minor");
  if (isLater && !(isInteger(content.minor) && content.minor >= 1)) return false;
  const names = Object.keys(content).filter((name) => name !== "minor");
  if (!Object.hasOwn(content, "type")) {
    return RECORD.every((name) => names.includes(name)) && (isLater || names.length === RECORD.length);
  }
  if (!isText(content.type)) return false;
  const known = Object.hasOwn(EVENTS, content.type) ? [...COMMON, ...EVENTS[content.type].split(" ")] : null;
  return isLater || (known !== null && names.every((name) => known.includes(name)));
}

/** Grant and signature of the first leaf. */
export function grantOf(part) {
  if (!Buffer.isBuffer(part)) throw bad("bad_sequence", "the first leaf is not here");
  const { type, grant, operator_signature: signature } = parseLeaf(part);
  if (type !== "epoch_start" || !isObject(grant)) throw bad("bad_sequence", "it opens no epoch");
  const names = "agent agent_key clock dev documents epoch first_slot site type v".split(" ");
  const texts = [signature, grant.agent_key, ...Object.values(isObject(grant.documents) ? grant.documents : {})];
  const fits = hasKeys(grant, names) && hasKeys(grant.documents, ["profile", "site", "factors"])
    && texts.every(isText) && isInteger(grant.epoch) && [grant.agent, grant.dev, grant.site].every(isId)
    && ["simulated", "system"].includes(grant.clock) && grant.type === "grant" && grant.v === 1;
  if (!fits) throw bad("bad_leaf", "no grant");
  timeOf(grant.first_slot ?? "0");
  return { grant, signature: decode64(signature) };
}

/** The change of key in a leaf, both signatures checked. */
export function rotationOf(content, site) {
  const fail = (why) => bad("bad_rotation", why);
  const seq = u64(content.seq);
  if (seq === null) throw fail("no place");
  let read;
  try {
    read = ["old_key", "new_key", "old_signature", "new_signature"].map((name) => decode64(content[name]));
  } catch (error) {
    throw fail(error.message);
  }
  const [oldKey, newKey, oldSignature, newSignature] = read;
  const message = writeBytes({
    dev: content.dev, epoch: content.epoch, new_key: content.new_key, old_key: content.old_key, seq: content.seq,
    site, type: "key_rotation", v: 1,
  });
  if (!isSigned(oldKey, message, oldSignature) || !isSigned(newKey, message, newSignature)) throw fail("not signed");
  if (oldKey.equals(newKey)) throw fail("it changes nothing");
  return { seq: Number(seq), oldKey, newKey };
}

/** The keys of a tree in order. */
export function keysOf(first, rotations) {
  const keys = [first];
  for (const { oldKey, newKey } of rotations) {
    if (!oldKey.equals(keys.at(-1))) throw bad("bad_rotation", "it starts from another key");
    if (keys.some((key) => key.equals(newKey))) throw bad("bad_rotation", "it goes back");
    keys.push(newKey);
  }
  return keys;
}

/** All leaves of a tree, read. */
export function parseTree(parts) {
  const { grant, signature } = grantOf(parts[0]);
  const tree = {
    grant, signature, site: grant.site, device: grant.dev, epoch: grant.epoch, clock: grant.clock,
    origin: `joulemark/${grant.site}/${grant.dev}/${grant.epoch}`,
    records: [], gaps: [], envelopes: [], figures: [], rotations: [], runs: [], losses: [],
  };
  for (const [seq, part] of numbered(parts)) {
    if (!Buffer.isBuffer(part)) {
      tree.runs.push({ seq, count: part.count, end: seq + part.count });
      continue;
    }
    const content = parseLeaf(part);
    if (content.dev !== tree.device || content.epoch !== tree.epoch || content.seq !== String(seq)) {
      throw bad("bad_sequence", `leaf ${seq}`);
    }
    take(tree, seq, content);
  }
  return tree;
}

function take(tree, seq, content) {
  switch (content.type) {
    case undefined:
      return tree.records.push(recordOf(seq, content));
    case "gap":
      return tree.gaps.push(gapOf(seq, content));
    case "batch":
      return tree.envelopes.push({ seq, fields: content });
    case "figures":
      return tree.figures.push(statementOf(seq, content));
    case "key_rotation":
      return tree.rotations.push(rotationOf(content, tree.site));
    case "discontinuity":
      return tree.losses.push({ seq, fields: content });
    case "epoch_start":
      if (seq > 0) throw bad("bad_sequence", "the epoch is opened again");
  }
}

function recordOf(seq, content) {
  const { tq, raw, val, q } = content;
  const fits = isObject(tq) && u64(content.t_mono_ns) !== null && u64(tq.err_us) !== null
    && isText(tq.sync) && Array.isArray(raw) && isObject(val) && isObject(q) && raw.every(isResponse);
  if (!fits) throw bad("bad_leaf", `leaf ${seq} is no record`);
  return {
    seq, slot: timeOf(content.slot), read: timeOf(content.t_utc_us), sync: tq.sync, val, q,
    boot: tq.sync !== "simulated" && isInteger(content.boot) ? content.boot : null,
    mono: Number(u64(content.t_mono_ns) / 1000n),
    raw: raw.map(([table, address, data]) => ({ table, address, data: Buffer.from(data, "hex") })),
  };
}

const isResponse = (row) => Array.isArray(row) && row.length === 3 && isText(row[0]) && isInteger(row[1])
  && isText(row[2]) && /^([0-9a-f]{2})*$/.test(row[2]);

function gapOf(seq, content) {
  const [first, last] = [timeOf(content.first_slot), timeOf(content.last_slot)];
  const slots = u64(content.slots);
  if (slots === null || slots < 1n || last < first || !isText(content.cause)) {
    throw bad("bad_leaf", `leaf ${seq} is no gap`);
  }
  return { seq, first, last, slots: Number(slots), cause: content.cause };
}

function statementOf(seq, content) {
  const names = EVENTS.figures.split(" ");
  const fields = Object.fromEntries(names.filter((name) => Object.hasOwn(content, name)).map((n) => [n, content[n]]));
  const areNames = (list) => Array.isArray(list) && list.length <= 500 && list.every((n) => isText(n) && NAME.test(n));
  const isDecimal = (text) => isText(text) && DECIMAL.test(text);
  const isFigure = (one) => hasKeys(one, ["covered", "flags", "nu", "u", "value"]) && isDecimal(one.value)
    && [one.covered, one.u].every((text) => text === null || isDecimal(text))
    && (one.nu === null || one.nu === "inf" || isDecimal(one.nu)) && areNames(one.flags);
  const wholes = ["start", "end", "first_seq", "last_seq", "version"].map((name) => fields[name]);
  const fits = names.every((name) => Object.hasOwn(fields, name)) && isObject(fields.figures)
    && [fields.absent, fields.findings, Object.keys(fields.figures)].every(areNames)
    && Object.values(fields.figures).every(isFigure) && wholes.every((text) => isText(text) && WHOLE.test(text))
    && BigInt(fields.first_seq) < BigInt(fields.last_seq) && BigInt(fields.last_seq) < BigInt(seq)
    && BigInt(fields.start) < BigInt(fields.end);
  if (!fits) throw bad("bad_leaf", `leaf ${seq} states no figures`);
  return { seq, fields };
}

// --- batches, runs and slots ---------------------------------------------------------------------

const small = (text) => {
  const found = u64(text);
  return found === null ? null : Number(found);
};

const runsIn = (tree, start, end) => tree.runs.filter((run) => run.seq >= start && run.end <= end && run.seq < end);

/** The batches with an envelope: first leaf, envelope. */
export function batchesOf(tree) {
  let start = 0;
  return tree.envelopes.map((envelope) => {
    const claimed = small(envelope.fields.first_seq);
    if (claimed !== null && start < claimed && claimed <= envelope.seq) {
      const missing = runsIn(tree, start, claimed).reduce((sum, run) => sum + run.count, 0);
      if (missing === claimed - start) start = claimed;
    }
    const batch = { start, end: envelope.seq, fields: envelope.fields, runs: runsIn(tree, start, envelope.seq) };
    start = envelope.seq + 1;
    return batch;
  });
}

/** The runs that are in no batch with an envelope. */
export function lostRuns(tree) {
  const inside = new Set(batchesOf(tree).flatMap((batch) => batch.runs));
  return tree.runs.filter((run) => !inside.has(run));
}

export function explains(event, run) {
  const [first, last] = [small(event.fields.first_seq), small(event.fields.last_seq)];
  return first !== null && last !== null && first <= run.seq && run.end - 1 <= last && last < event.seq;
}

/** Slots that losses state, each loss once: { first, last, slots }. */
export function lostSlots(tree) {
  let untold = lostRuns(tree);
  return tree.losses.flatMap((event) => {
    const [first, last, slots] = ["first_slot", "last_slot", "slots"].map((name) => small(event.fields[name]));
    const rest = untold.filter((run) => !explains(event, run));
    const isNew = rest.length < untold.length;
    untold = rest;
    return isNew && first !== null && last !== null && slots ? [{ first, last, slots }] : [];
  });
}

/** Slots of records that stay away. */
export function withheldSlots(tree, period) {
  if (tree.runs.length === 0) return [];
  const rows = [...tree.records.map((r) => ({ seq: r.seq, last: r.slot })), ...tree.gaps, ...tree.runs]
    .sort((one, other) => one.seq - other.seq);
  const found = [];
  let next = 0;
  for (const { start, end, fields } of batchesOf(tree)) {
    let at = small(fields.first_seq) === start ? small(fields.first_slot) : null;
    for (; next < rows.length && rows[next].seq < end; next++) {
      const row = rows[next];
      if (row.seq < start) continue;
      if (row.count === undefined) at = row.last + period;
      else if (at !== null) {
        const last = at + (row.count - 1) * period;
        found.push({ first: at, last, slots: row.count });
        at = last + period;
      }
    }
  }
  return found;
}
