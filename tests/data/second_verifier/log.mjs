// The collector's log, corrections, time stamps (docs/format.md, 9).

import {
  Refused, Undecided, decode64, digest, equal, hasKeys, isDigest, isId, isInteger, isObject, isText, originOf, parse,
  u64, writeBytes,
} from "./bytes.mjs";
import { FORMATS } from "./bundle.mjs";
import { codesOf, walked } from "./layers.mjs";
import { cosignedAt, headOf, isLogSigned, isSigned, keyIdOf, numbered, parseNote } from "./trees.mjs";

const COMMON = ["n", "site", "t_utc_us", "type", "v"];
const FIELDS = {
  heads: ["heads"], approval: ["content", "what"], document: ["name", "sha256"],
  correction: ["correction", "operator_key", "operator_signature"],
  plan: ["operator_key", "operator_signature", "plan"],
};
const PLAN = ["author", "plan_sha256", "project", "role", "site", "type", "v"];
const PREFIX = "joulemark/collector/";
const CORRECTION = "first_seq last_seq origin point reason site treatment type v value who withdraws".split(" ");
const VALUE = /^-?(0|[1-9][0-9]{0,24})(\.[0-9]{0,11}[1-9])?$/;

const fail = (code, what) => {
  throw new Refused(code, what);
};

/** The log of a bundle, read; nothing of it is checked. */
export function readAccount(files, tokens) {
  const heads = files.notes.map(headOf);
  if (heads.length === 0) fail("bad_checkpoints", "no head");
  const entries = [...numbered(files.parts)].filter(([, part]) => Buffer.isBuffer(part))
    .map(([position, leaf]) => entryOf(leaf, position));
  return { heads, notes: files.notes, parts: files.parts, entries, tokens, newest: heads.at(-1) };
}

function entryOf(leaf, position) {
  const content = parse(leaf);
  if (!isObject(content) || !isInteger(content.v)) fail("log_entry", "no version");
  if (content.v !== 1) fail("unknown_version", String(content.v));
  const names = Object.keys(content).filter((name) => name !== "minor");
  const isLater = Object.hasOwn(content, "minor");
  const isKnown = Object.hasOwn(FIELDS, String(content.type));
  const wanted = [...COMMON, ...(isKnown ? FIELDS[content.type] : [])];
  const fits = isId(content.site) && isText(content.type) && wanted.every((name) => names.includes(name))
    && (isLater ? isInteger(content.minor) && content.minor >= 1 : isKnown && names.length === wanted.length);
  const n = u64(content.n);
  if (!fits || n === null || u64(content.t_utc_us) === null) fail("log_entry", String(position));
  const heads = content.type === "heads" ? headsIn(content.heads, content.site) : [];
  return { position, n: Number(n), site: content.site, kind: content.type, time: Number(content.t_utc_us), heads, content };
}

function headsIn(rows, site) {
  if (!Array.isArray(rows) || rows.length === 0) fail("log_entry", "no heads");
  return rows.map((row) => {
    const fits = hasKeys(row, ["origin", "root", "size"]) && isText(row.origin) && decode64(row.root).length === 32;
    const size = fits ? u64(row.size) : null;
    if (size === null || size < 1n) fail("log_entry", "no head");
    const origin = originOf(row.origin);
    if (origin === null) fail("bad_origin", row.origin);
    if (origin.site !== site) fail("log_entry", "of another site");
    return { origin: row.origin, sizeText: row.size, root: row.root };
  });
}

const isSame = (one, other) => one !== undefined && other !== undefined && one.origin === other.origin
  && one.sizeText === other.sizeText && one.root === other.root;

// --- layer log -----------------------------------------------------------------------------------

export function* checkLog({ bundle, account, policy, signers, trees, places }) {
  if (account.missing) {
    const names = new Set((policy?.witnesses ?? []).map(({ name }) => PREFIX + name));
    const isWanted = policy && (policy.log_quorum > 0 || policy.authorities.length > 0
      || policy.heads.some(({ origin }) => names.has(origin)));
    if (bundle.format !== FORMATS[0] || isWanted) yield "log_missing";
    return;
  }
  if (account.error) return yield account.error.code ?? "unforeseen";
  const log = account.value;
  const { origin } = log.newest;
  const seen = (policy?.heads ?? []).filter((head) => head.origin === origin);
  let roots = new Map();
  const codes = [...codesOf(() => (roots = checkHeads(log, signers, new Set(seen.map(({ size }) => size)))))];
  if (codes.length) return yield* codes;
  for (const { size, root } of seen) if (roots.get(size) !== root) yield "known_head";
  yield* checkEntries(log, trees, places);
}

function checkHeads(log, signers, sizes) {
  if (new Set(log.heads.map(({ origin }) => origin)).size !== 1) fail("log_origin", "of several logs");
  const found = walked(log.parts, new Set([...sizes, ...log.heads.map(({ size }) => size)]));
  let size = 0;
  for (const head of log.heads) {
    if (head.size <= size) fail("log_order", head.sizeText);
    if (found.roots.get(head.size) !== head.root) fail("log_root", head.sizeText);
    size = head.size;
  }
  if (size !== found.size) fail("log_uncovered", String(size));
  if (signers === null) return found.roots;
  const keys = signers.witnesses.filter(({ name }) => PREFIX + name === log.newest.origin);
  if (keys.length === 0) fail("log_origin", log.newest.origin);
  for (const note of log.notes) {
    if (!keys.some(({ key }) => isLogSigned(note, decode64(key)))) fail("log_signature", log.newest.origin);
  }
  const note = log.notes.at(-1);
  const isIn = ({ name, key }) => cosignedAt(note, name, decode64(key)) !== null;
  const isTrue = ({ name, keyId }) => signers.log_witnesses.filter(isIn)
    .some((one) => one.name === name && keyId.equals(keyIdOf(name, 4, decode64(one.key))));
  const known = new Set(signers.log_witnesses.map(({ name }) => name));
  const lines = parseNote(note).lines.filter(({ name, body }) => known.has(name) && body.length === 72);
  if (!lines.every(isTrue)) fail("log_cosignature_missing", "a line that is not the witness's");
  const names = new Set(signers.log_witnesses.filter(isIn).map(({ name }) => name));
  if (names.size < signers.log_quorum) fail("log_cosignature_missing", String(names.size));
  return found.roots;
}

function* checkEntries(log, trees, places) {
  const sites = [...new Set(trees.map(({ site }) => site))];
  const isOurs = ({ n, site }, k) => n === k && sites.length === 1 && sites[0] === site;
  if (!log.entries.every(isOurs)) return yield "log_sequence";
  const approved = log.entries.filter(({ kind, content }) => kind === "approval" && content.what === "grant")
    .map(({ content }) => content.content);
  const logged = log.entries.flatMap(({ heads }) => heads);
  const last = new Map(logged.map((head) => [head.origin, head]));
  for (const { tree, files } of places.filter((place) => place.tree)) {
    const content = { origin: tree.origin, sha256: digest(writeBytes(tree.grant)) };
    if (!approved.some((one) => equal(one ?? null, content))) yield "log_grant";
    let heads;
    try {
      heads = files.notes.map(headOf);
    } catch {
      continue; // the layer of heads says so
    }
    const mine = logged.filter(({ origin }) => origin === tree.origin);
    const isKnown = mine.every((head) => heads.some((one) => isSame(one, head)));
    if (!isKnown || !isSame(heads.at(-1), last.get(tree.origin))) yield "log_head";
  }
  const epochs = new Map();
  for (const { tree, device, epoch } of places) {
    if (tree) epochs.set(device, Math.max(epoch, epochs.get(device) ?? 0));
  }
  for (const origin of last.keys()) {
    const { device, epoch } = originOf(origin);
    if (epoch > (epochs.get(device) ?? epoch)) yield "log_epoch";
  }
}

// --- corrections ---------------------------------------------------------------------------------

/** The corrections of a log, in order; `inForce` marks those that count. */
export function correctionsIn(log) {
  const made = log.entries.filter(({ kind }) => kind === "correction").map(madeOf);
  const standing = new Map();
  const known = new Set();
  const places = ["origin", "point", "first_seq", "last_seq"];
  for (const item of made) {
    const { treatment, withdraws } = item.content;
    if (known.has(item.digest)) fail("correction_overlap", item.digest);
    known.add(item.digest);
    if (treatment === "withdrawn") {
      const old = standing.get(withdraws);
      const isThere = old !== undefined && places.every((name) => old.content[name] === item.content[name]);
      if (!isThere) fail("correction_position", "nothing to withdraw");
      standing.delete(withdraws);
      continue;
    }
    if ([...standing.values()].some((other) => overlap(item, other))) fail("correction_overlap", item.digest);
    standing.set(item.digest, item);
  }
  return made.map((item) => ({ ...item, inForce: standing.has(item.digest) }));
}

function madeOf({ content: leaf, position, site }) {
  const { correction: content, operator_key: key, operator_signature: signature } = leaf;
  if (!isText(key) || !isText(signature)) fail("correction_form", "no signature");
  if (!hasKeys(content, CORRECTION)) fail("correction_form", "other fields");
  const texts = ["origin", "point", "reason", "treatment", "who"].map((name) => content[name]);
  const [first, last] = [u64(content.first_seq), u64(content.last_seq)];
  const { treatment, value, withdraws, origin } = content;
  const place = originOf(origin);
  const isReplaced = treatment === "replaced";
  const isWithdrawn = treatment === "withdrawn";
  const fits = texts.every((text) => isText(text) && [...text].length >= 1 && [...text].length <= 1000)
    && first !== null && last !== null && first <= last && content.type === "correction" && content.v === 1
    && place?.site === content.site && content.site === site
    && (isReplaced || isWithdrawn || treatment === "excluded")
    && (isReplaced ? isText(value) && VALUE.test(value) && value !== "-0" : value === null)
    && (isWithdrawn ? isDigest(withdraws) : withdraws === null);
  if (!fits) fail("correction_form", String(position));
  const bytes = writeBytes(content);
  const keyBytes = decode64(key);
  return {
    content, position, first: Number(first), last: Number(last), digest: digest(bytes), key: keyBytes,
    isSigned: isSigned(keyBytes, bytes, decode64(signature)),
  };
}

const overlap = (one, other) => one.content.origin === other.content.origin && one.content.point === other.content.point
  && one.first <= other.last && other.first <= one.last;

/** The readings that a correction means. */
export function readingsOf({ content, first, last }, tree) {
  const { point } = content;
  const isDue = ({ val, q }) => Object.hasOwn(val, point) || (Object.hasOwn(q, point) && q[point] !== "not_due");
  const found = tree.records.filter((r) => first <= r.seq && r.seq <= last && isDue(r));
  const ends = new Set(found.map(({ seq }) => seq));
  if (!ends.has(first) || !ends.has(last)) fail("correction_position", point);
  return found;
}

export function* checkCorrections({ account, trees, signers }) {
  if (!account.value) return;
  let made = [];
  const codes = [...codesOf(() => {
    made = correctionsIn(account.value);
    for (const item of made) {
      const tree = trees.find(({ origin }) => origin === item.content.origin);
      if (tree) readingsOf(item, tree);
    }
  })];
  if (codes.length) return yield* codes;
  const trusted = signers === null ? null : new Set(signers.operators);
  const isGood = ({ isSigned: holds, key }) => holds && (trusted === null || trusted.has(key.toString("base64")));
  if (!made.every(isGood)) yield "correction_signature";
}

// --- plans ---------------------------------------------------------------------------------------

/** The registrations of plans in a log, in order. */
function plansIn(log) {
  return log.entries.filter(({ kind }) => kind === "plan").map(({ content: leaf, position, site, time }) => {
    const { plan: content, operator_key: key, operator_signature: signature } = leaf;
    if (!isText(key) || !isText(signature) || !hasKeys(content, PLAN)) fail("plan_form", String(position));
    const texts = ["author", "plan_sha256", "project", "role", "site"].map((name) => content[name]);
    const fits = texts.every((text) => isText(text) && [...text].length >= 1 && [...text].length <= 1000)
      && isDigest(content.plan_sha256) && isId(content.site) && isId(content.project) && content.site === site
      && content.type === "plan" && content.v === 1;
    if (!fits) fail("plan_form", String(position));
    const keyBytes = decode64(key);
    return { content, position, time, key: keyBytes,
      isSigned: isSigned(keyBytes, writeBytes(content), decode64(signature)) };
  });
}

/** The first registration of a plan, and the line that first dates it; null: there is none. */
export function datedOf(log, planDigest) {
  const plans = plansIn(log);
  const found = plans.find(({ content }) => content.plan_sha256 === planDigest);
  if (found === undefined) return null;
  const versions = plans.filter(({ content }) => content.project === found.content.project).length;
  let first = null;
  log.heads.forEach((head, k) => {
    if (head.size <= found.position) return;
    const times = new Map();
    for (const { name, body } of parseNote(log.notes[k]).lines) {
      if (name === head.origin || body.length !== 72) continue;
      const time = body.readBigUInt64BE(0);
      if (!(times.get(name) > time)) times.set(name, time);
    }
    for (const [name, time] of times) {
      const isBefore = first === null || time < first.time || (time === first.time && name < first.name);
      if (isBefore) first = { name, time, note: log.notes[k] };
    }
  });
  return { ...found, cosigned: first, versions };
}

/** The id that a plan names; null: it is no plan. */
function projectOf(data) {
  let name = null;
  [...codesOf(() => { name = parse(data)?.id; })];
  return isText(name) ? name : null;
}

export function* checkPlans({ account, signers, bundle }) {
  if (!account.value) return;
  let made = [];
  let first = null;
  const codes = [...codesOf(() => {
    const plan = bundle.members.get("plan.json") ?? Buffer.alloc(0);
    made = plansIn(account.value);
    first = datedOf(account.value, digest(plan));
    const own = made.filter(({ content }) => content.plan_sha256 === digest(plan));
    if (own.some(({ content }) => content.project !== projectOf(plan))) fail("plan_form", "another project");
  })];
  if (codes.length) return yield* codes;
  const trusted = signers === null ? null : new Set(signers.operators);
  const isGood = ({ isSigned: holds, key }) => holds && (trusted === null || trusted.has(key.toString("base64")));
  if (!made.every(isGood)) yield "plan_signature";
  const line = first?.cosigned ?? null;
  const keys = line === null || signers === null ? [] : signers.log_witnesses.filter(({ name }) => name === line.name);
  const isTheirs = ({ name, key }) => {
    const time = cosignedAt(line.note, name, decode64(key));
    return time !== null && BigInt(time) === line.time;
  };
  if (keys.length && !keys.some(isTheirs)) yield "plan_cosignature";
}

// --- time stamps ---------------------------------------------------------------------------------

export function* checkAnchors({ account, policy }) {
  if (!account.value) return;
  const { tokens, heads } = account.value;
  const sizes = new Set(heads.map(({ sizeText }) => sizeText));
  if (tokens.some(({ size }) => !sizes.has(size))) return yield "timestamp_head";
  const names = new Set((policy?.authorities ?? []).map(({ name }) => name));
  if (tokens.some(({ name }) => names.has(name))) throw new Undecided("time stamps are not read here");
  if (names.size) yield "timestamp_missing";
}
