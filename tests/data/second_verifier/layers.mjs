// The layers signers, heads, records, documents and times (docs/format.md, 4, 5.1 and 8).

import { Refused, decode64, digest, equal, isInteger, isObject, isText, parse, u64, writeBytes } from "./bytes.mjs";
import { statementCodes } from "./bundle.mjs";
import {
  batchesOf, explains, grantOf, keysOf, lostRuns, lostSlots, parseLeaf, rotationOf, withheldSlots,
} from "./leaves.mjs";
import { checkFactors } from "./plan.mjs";
import { profileOf } from "./profile.mjs";
import { rowOf, siteOf, periodOf, intervalOf } from "./site.mjs";
import { Edge, cosignedAt, countOf, headOf, isLogSigned, isSigned, numbered } from "./trees.mjs";

const SLACK = 300_000_000;
const fail = (code, what) => {
  throw new Refused(code, what);
};

/** The sum, code by code, of what a function refuses. */
export function* codesOf(check) {
  try {
    check();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    yield error.code;
  }
}

function limitOf(policy, key, origin) {
  const mine = (policy?.revoked ?? []).filter((row) => decode64(row.key).equals(key));
  if (mine.length === 0) return Infinity;
  const sizes = mine.filter((row) => row.origin === origin).map((row) => row.size);
  return sizes.length ? Math.min(...sizes) : 0;
}

// --- signers -------------------------------------------------------------------------------------

export function* checkSigners({ bundle, statement, signers, policy, trees }) {
  if (statement.error) return yield statement.error.code ?? "bad_statement";
  if (signers === null) return yield "signers_missing";
  yield* statementCodes(bundle, statement.value, signers);
  const changes = trees.flatMap((tree) => tree.rotations
    .filter((change) => change.seq + 1 <= limitOf(policy, change.oldKey, tree.origin)));
  for (const tree of trees) {
    const { grant } = tree;
    const keys = before(decode64(grant.agent_key), changes);
    const allows = ({ agent, site, devices, key }) => agent === grant.agent && site === tree.site
      && devices.includes(tree.device) && keys.has(key);
    if (!signers.agents.some(allows)) yield "agent_unknown";
    const signed = writeBytes(grant);
    if (!signers.operators.some((key) => isSigned(decode64(key), signed, tree.signature))) yield "operator_signature";
  }
}

function before(key, changes) {
  const found = new Set([key.toString("base64")]);
  for (let size = 0; size !== found.size; ) {
    size = found.size;
    for (const change of changes) {
      if (found.has(change.newKey.toString("base64"))) found.add(change.oldKey.toString("base64"));
    }
  }
  return found;
}

// --- heads ---------------------------------------------------------------------------------------

export function* checkHeads({ places, statement, signers, policy }) {
  const heads = [];
  let isWhole = true;
  for (const place of places.filter(({ files }) => files)) {
    const codes = [...known(place, policy), ...codesOf(() => heads.push(follow(place, signers, policy)))];
    isWhole &&= codes.length === 0;
    yield* codes;
  }
  if (!isWhole || !statement.value) return;
  heads.sort((one, other) => (one.origin < other.origin ? -1 : 1));
  if (!equal(statement.value.predicate.heads ?? null, heads)) yield "statement_heads";
}

function follow({ device, epoch, files }, signers, policy) {
  const { grant } = grantOf(files.parts[0]);
  const origin = `joulemark/${grant.site}/${device}/${epoch}`;
  const first = decode64(grant.agent_key);
  const edge = new Edge();
  const rotations = [];
  const rows = numbered(files.parts);
  let last = { root: edge.root().toString("base64"), size: "0", origin };
  for (const note of files.notes) {
    const head = headOf(note);
    if (head.origin !== origin) fail("head_origin", head.origin);
    if (!(edge.size < head.size && head.size <= files.size)) fail("head_order", head.sizeText);
    let [seq, part] = [0, null];
    const changes = [];
    while (edge.size < head.size) {
      [seq, part] = rows.next().value;
      edge.add(part);
      if (Buffer.isBuffer(part) && part.includes('"type":"key_rotation"')) changes.push(...changeIn(part, seq, grant));
    }
    if (edge.size > head.size) fail("bad_batch", "a run goes on beyond a head");
    if (edge.root().toString("base64") !== head.root) fail("root_mismatch", head.sizeText);
    rotations.push(...changes);
    const key = keysOf(first, rotations).at(-1);
    if (!isLogSigned(note, key)) fail("head_signature", head.sizeText);
    const used = [...changes.map((change) => [change.oldKey, change.seq + 1]), [key, head.size]];
    if (used.some(([one, size]) => size > limitOf(policy, one, origin))) fail("revoked_key", head.sizeText);
    if (signers !== null && witnessesOf(note, signers).size < signers.quorum) fail("cosignature_missing", head.sizeText);
    if (Buffer.isBuffer(part)) checkEnvelope(part, last);
    last = { root: head.root, size: head.sizeText, origin };
  }
  if (edge.size !== files.size) fail("tail_uncovered", "leaves stand under no head");
  return last;
}

function changeIn(part, seq, grant) {
  const content = parseLeaf(part);
  if (content.type !== "key_rotation") return [];
  if (content.seq !== String(seq)) fail("bad_rotation", "of another leaf");
  return [rotationOf(content, grant.site)];
}

const witnessesOf = (note, signers) => new Set(signers.witnesses
  .filter(({ name, key }) => cosignedAt(note, name, decode64(key)) !== null).map(({ name }) => name));

function checkEnvelope(leaf, { root, size }) {
  const { type, previous, first_seq: start } = parseLeaf(leaf);
  if (type !== "batch" || !equal(previous ?? null, { root, size }) || start !== size) fail("envelope_head", size);
}

function* known({ device, epoch, files }, policy) {
  if (!policy) return;
  let origin;
  try {
    origin = `joulemark/${grantOf(files.parts[0]).grant.site}/${device}/${epoch}`;
  } catch {
    return; // the layer of records says so
  }
  const edge = new Edge();
  let next = 0;
  for (const head of policy.heads.filter((row) => row.origin === origin).sort((a, b) => a.size - b.size)) {
    while (edge.size < head.size && next < files.parts.length) edge.add(files.parts[next++]);
    if (edge.size > head.size) return yield "bad_batch";
    if (edge.size < head.size || edge.root().toString("base64") !== head.root) yield "known_head";
  }
}

// --- records -------------------------------------------------------------------------------------

export function* checkRecords({ places, documents }) {
  if (places.length === 0) yield "no_evidence";
  for (const { device, epoch, error, tree } of places) {
    if (error) yield error.code ?? "unforeseen";
    if (!tree) continue;
    if (device !== tree.device || epoch !== tree.epoch) yield "tree_misplaced";
    yield* codesOf(() => batchesOf(tree).forEach((batch) => checkCounts(tree, batch)));
    if (tree.runs.length) yield* codesOf(() => checkRuns(tree, intervalOf(tree, documents)));
    yield* checkOrder(tree);
    let period;
    try {
      period = periodOf(tree, documents);
    } catch (error_) {
      if (!(error_ instanceof Refused)) throw error_;
      continue; // the layer of documents says so
    }
    yield* codesOf(() => checkSlots(tree, period));
  }
}

function checkCounts(tree, { start, end, fields, runs }) {
  const isIn = ({ seq }) => start <= seq && seq < end;
  const [records, gaps] = [tree.records.filter(isIn), tree.gaps.filter(isIn)];
  const hidden = runs.reduce((sum, run) => sum + run.count, 0);
  const gapSlots = gaps.reduce((sum, gap) => sum + gap.slots, 0);
  const firsts = [...records.map((r) => r.slot), ...gaps.map((gap) => gap.first)];
  const lasts = [...records.map((r) => r.slot), ...gaps.map((gap) => gap.last)];
  const counted = {
    first_seq: String(start), last_seq: String(end - 1), records: records.length + hidden, gap_slots: gapSlots,
    values: records.reduce((sum, r) => sum + Object.keys(r.val).length, 0),
    slots: records.length + gapSlots + hidden,
    first_slot: firsts.length ? String(Math.min(...firsts)) : null,
    last_slot: lasts.length ? String(Math.max(...lasts)) : null,
    time: { unsynchronised: records.filter((r) => r.sync === "unsynchronised").length },
  };
  if (hidden) {
    const seen = counted.time.unsynchronised;
    const claimed = isObject(fields.time) ? fields.time.unsynchronised : null;
    if (isInteger(claimed) && seen <= claimed && claimed <= seen + hidden) counted.time.unsynchronised = claimed;
    if (isInteger(fields.values) && fields.values >= counted.values) counted.values = fields.values;
    const [first, last] = [u64(fields.first_slot), u64(fields.last_slot)];
    if (first !== null && last !== null && first <= last) counted.first_slot = fields.first_slot;
  }
  for (const [name, value] of Object.entries(counted)) {
    if (!equal(fields[name] ?? null, value) || !Object.hasOwn(fields, name)) fail("bad_envelope", name);
  }
}

function checkRuns(tree, interval) {
  for (const { end, runs } of batchesOf(tree).filter((batch) => batch.runs.length)) {
    if (interval === null) fail("withheld_refused", String(end));
    const isShown = tree.records.some(({ seq }) => runs.at(-1).end <= seq && seq <= end);
    if (!isShown) fail("interval_record_missing", String(end));
  }
  for (const run of lostRuns(tree)) {
    if (!tree.losses.some((event) => explains(event, run))) fail("lost_unexplained", String(run.seq));
  }
}

function* checkOrder(tree) {
  const rows = [...tree.records.map(({ seq, slot }) => [seq, slot]), ...tree.gaps.map(({ seq, first }) => [seq, first])];
  rows.sort(([one], [other]) => one - other);
  if (rows.some(([, slot], k) => k > 0 && slot <= rows[k - 1][1])) yield "slot_order";
}

function checkSlots(tree, period) {
  const spans = [...tree.records.map(({ slot }) => ({ first: slot, last: slot, slots: 1 })), ...tree.gaps,
    ...withheldSlots(tree, period), ...lostSlots(tree)].sort((a, b) => a.first - b.first || a.last - b.last);
  let due = tree.grant.first_slot === null ? null : Number(tree.grant.first_slot);
  for (const { first, last, slots } of spans) {
    if (first % period || last % period || slots !== Math.floor((last - first) / period) + 1) {
      fail("slot_unaligned", String(first));
    }
    due ??= first;
    if (first < due) fail("slot_twice", String(first));
    if (first > due) fail("slot_missing", String(due));
    due = last + period;
  }
  const isOff = ({ read, slot }) => Math.abs(read - slot) > period + SLACK;
  if (tree.records.some(isOff)) fail("off_slot", tree.origin);
}

// --- documents -----------------------------------------------------------------------------------

export function* checkDocuments({ bundle, trees, documents, statement }) {
  for (const tree of trees) {
    yield* codesOf(() => {
      checkNamed(tree, documents);
      checkContent(tree, documents);
    });
  }
  const named = [...new Set(trees.flatMap((tree) => Object.values(tree.grant.documents)))].sort();
  if ([...documents.keys()].some((name) => !named.includes(name))) yield "document_unused";
  if (!statement.value) return;
  const { predicate } = statement.value;
  if (predicate.plan !== digest(bundle.members.get("plan.json") ?? Buffer.alloc(0))) yield "plan_differs";
  if (!equal(predicate.documents ?? null, named)) yield "documents_differ";
}

function checkNamed(tree, documents) {
  const approved = tree.grant.documents;
  for (const name of Object.values(approved)) {
    if (!documents.has(name) || digest(documents.get(name)) !== name) fail("document_missing", name);
  }
  for (const { fields } of tree.envelopes) {
    const told = fields.documents;
    if (!isObject(told) || !equal(told, { ...approved, software: told.software ?? null })) {
      fail("document_changed", tree.origin);
    }
  }
}

function checkContent(tree, documents) {
  const profile = profileOf(tree, documents);
  const site = siteOf(tree, documents);
  checkFactors(parse(documents.get(tree.grant.documents.factors)));
  const names = ["site", "agent", "clock", "first_slot"];
  const isWhole = isObject(site) && Array.isArray(site.devices) && names.every((name) => Object.hasOwn(site, name))
    && site.devices.every((row) => isObject(row) && Object.hasOwn(row, "id") && Object.hasOwn(row, "profile"));
  const isCounted = isObject(site?.factors) && isText(site.time_zone)
    && ["rule_set", "jurisdiction"].every((name) => Object.hasOwn(site.factors, name));
  const areTimed = isWhole && site.devices.every(({ period_s: one }) => isInteger(one) && one > 0);
  if (!areTimed) fail("bad_document", "period");
  const areDistinct = isWhole && new Set(site.devices.map(({ id }) => id)).size === site.devices.length;
  if (!areDistinct || !isCounted) fail("bad_document", "site");
  const model = rowOf(site, tree.device).profile;
  const isModel = isText(model) && (model.endsWith(".yaml") || model === profile.model);
  if (names.some((name) => !equal(site[name], tree.grant[name])) || !isModel) fail("site_differs", tree.origin);
}

// --- times ---------------------------------------------------------------------------------------

export function* checkTimes({ places, trees, documents, signers, statement }) {
  if (new Set(trees.map((tree) => tree.clock)).size > 1) yield "mixed_clocks";
  let latest = 0;
  for (const { tree, files } of places.filter((place) => place.tree)) {
    const isSimulated = tree.clock === "simulated";
    if (tree.records.some(({ sync }) => (sync === "simulated") !== isSimulated)) yield "clock_mismatch";
    if (signers === null) continue;
    const received = new Map(files.notes.flatMap((note) => receivedAt(note, signers)));
    latest = Math.max(latest, ...received.values());
    let interval = 0;
    for (const _ of codesOf(() => (interval = intervalOf(tree, documents) ?? 0)));
    yield* codesOf(() => checkArrivals(tree, received, SLACK + interval));
  }
  if (!statement.value) return;
  const seconds = instantOf(statement.value.predicate.issued);
  if (!(seconds * 1_000_000 >= latest - SLACK)) yield "issued_early";
}

/** POSIX seconds of a time with offset; NaN where it is none. */
function instantOf(text) {
  const clock = "(?:[01]\\d|2[0-3]):[0-5]\\d";
  const form = new RegExp(`^(\\d{4}-\\d\\d-\\d\\d)T${clock}(?::[0-5]\\d(?:\\.\\d+)?)?(?:Z|[+-]${clock})$`);
  const match = isText(text) ? form.exec(text) : null;
  const day = match ? new Date(`${match[1]}T00:00:00Z`) : new Date(NaN);
  const isReal = !Number.isNaN(day.getTime()) && day.toISOString().startsWith(match[1]) && match[1] >= "0001";
  return isReal ? Math.floor(Date.parse(text) / 1000) : NaN;
}

/** Size of a head and when it was seen; nothing where it is none. */
function receivedAt(note, signers) {
  try {
    const { size } = headOf(note);
    const times = signers.witnesses.map(({ name, key }) => cosignedAt(note, name, decode64(key)));
    const seen = times.filter((time) => time !== null).map(Number);
    return [[size, seen.length ? Math.min(...seen) * 1_000_000 : 0]];
  } catch {
    return []; // the layer of heads says so
  }
}

function checkArrivals(tree, received, fresh) {
  let [start, live] = [0, null];
  tree.envelopes.forEach(({ seq, fields }) => {
    const now = received.get(seq + 1) ?? 0;
    if (now === 0) return;
    const isIn = (row) => start <= row.seq && row.seq < seq;
    const sealed = Number(u64(fields.sealed_us) ?? 0n);
    const isReal = tree.clock !== "simulated";
    const claimed = [sealed, ...(isReal ? tree.records.filter(isIn).flatMap((r) => [r.read, r.slot]) : [])];
    const ends = isReal ? tree.gaps.filter(isIn).map((gap) => gap.last) : [];
    start = seq;
    if (Math.max(...claimed, ...ends) > now + 1_000_000 + SLACK) fail("future", String(seq));
    const oldest = Math.min(...claimed);
    if (oldest >= now - fresh) live = now;
    else if (live === null || oldest < live - fresh) fail("back_dated", String(seq));
  });
}

/** Roots and sizes of a walk over parts, at the sizes asked for. */
export function walked(parts, sizes) {
  const edge = new Edge();
  const roots = new Map();
  for (const part of parts) {
    edge.add(part);
    if (sizes.has(edge.size)) roots.set(edge.size, edge.root().toString("base64"));
  }
  return { size: parts.reduce((sum, part) => sum + countOf(part), 0), roots };
}
