// A bundle opened: members, manifest, statement, signers (docs/format.md, 3 to 5).

import {
  Refused, byCode, decode64, digest, equal, hasKeys, isDigest, isInteger, isObject, isText, originOf, parse,
} from "./bytes.mjs";
import { readContainer, unpack } from "./container.mjs";
import { isNoteList, isSigned, partsOf, countOf } from "./trees.mjs";

export const FORMATS = ["joulemark-bundle/1", "joulemark-bundle/2"];
const PLAIN = ["manifest.json", "statement.json", "report.json", "report.html", "plan.json", "readme.txt"];
const LOG = ["collector/leaves.jsonl.gz", "collector/checkpoints.json"];
const RENDERINGS = ["report.ko.html", "report.pdf", "report.ko.pdf"];
const TREE = /^evidence\/([a-z0-9-]{1,64})\/([1-9][0-9]{0,8})\/(leaves\.jsonl\.gz|checkpoints\.json)$/;
const DOCUMENT = /^documents\/([0-9a-f]{64})\.json$/;
const TOKEN = /^anchors\/([1-9][0-9]{0,18})-([a-z0-9-]{1,64})\.tsr$/;
const MOST_LEAVES = 256 * 1024 * 1024;
const MOST_LOG = 64 * 1024 * 1024;
const NOTHING = Buffer.alloc(0);

/** The opened bundle; what is no bundle is thrown as Refused. */
export function openBundle(data) {
  const members = readContainer(data);
  if (!members.has("manifest.json")) throw new Refused("not_a_bundle", "no manifest");
  let format = "";
  try {
    const manifest = parse(members.get("manifest.json"));
    format = isObject(manifest) && isText(manifest.format) ? manifest.format : null;
  } catch {
    // a damaged bundle: the layer says so
  }
  if (format === null || (format !== "" && !FORMATS.includes(format))) throw new Refused("not_a_bundle", "format");
  const documents = new Map();
  const places = new Map();
  const tokens = [];
  for (const [name, content] of members) {
    const [document, tree, token] = [DOCUMENT, TREE, TOKEN].map((form) => form.exec(name));
    if (document) documents.set(document[1], content);
    if (tree) places.set(`${tree[1]}/${tree[2]}`, { device: tree[1], epoch: Number(tree[2]) });
    if (token) tokens.push({ size: token[1], name: token[2], data: content });
  }
  return { members, format, documents, places, tokens };
}

const get = (bundle, name) => bundle.members.get(name) ?? NOTHING;

function filesAt(bundle, folder, limit) {
  const plain = unpack(get(bundle, `${folder}/leaves.jsonl.gz`), limit);
  const parts = partsOf(plain, bundle.format === FORMATS[0]);
  const notes = parse(get(bundle, `${folder}/checkpoints.json`));
  if (!isNoteList(notes)) throw new Refused("bad_checkpoints", folder);
  const size = parts.reduce((sum, part) => sum + countOf(part), 0);
  return { parts, notes, size, bytes: plain.length };
}

/** Per place: its files, or the error that they are. */
export function treeFiles(bundle) {
  let left = MOST_LEAVES;
  return [...bundle.places.values()]
    .sort((one, other) => byCode(one.device, other.device) || one.epoch - other.epoch)
    .map((place) => {
      try {
        const files = filesAt(bundle, `evidence/${place.device}/${place.epoch}`, left);
        left -= files.bytes;
        return { ...place, files };
      } catch (error) {
        return { ...place, error };
      }
    });
}

/** The files of the collector's log; null: none are here. */
export function logFiles(bundle) {
  return LOG.some((name) => bundle.members.has(name)) ? filesAt(bundle, "collector", MOST_LOG) : null;
}

/** Layer `manifest`. */
export function* checkManifest({ bundle }) {
  const { members } = bundle;
  let manifest = null;
  try {
    manifest = parse(members.get("manifest.json"));
  } catch {
    // below
  }
  if (!hasKeys(manifest, ["files", "format"]) || !isObject(manifest.files)) return yield "manifest_unreadable";
  const format = FORMATS.includes(bundle.format) ? bundle.format : FORMATS[1];
  const required = format === FORMATS[0] ? PLAIN : [...PLAIN, ...LOG];
  const forms = format === FORMATS[0] ? [TREE, DOCUMENT] : [TREE, DOCUMENT, TOKEN];
  const { files } = manifest;
  const there = [...members.keys()].filter((name) => !["manifest.json", "statement.json"].includes(name));
  if (Object.keys(files).some((name) => !there.includes(name))) yield "file_missing";
  if (required.some((name) => !members.has(name) && !Object.hasOwn(files, name))) yield "file_missing";
  for (const name of there) {
    if (!Object.hasOwn(files, name)) yield "file_extra";
    else if (digest(members.get(name)) !== files[name]) yield "file_changed";
  }
  for (const name of members.keys()) {
    if (!required.includes(name) && !forms.some((form) => form.test(name))) yield "file_unknown";
  }
}

const TYPE = "application/vnd.in-toto+json";

/** The statement, its signature not yet checked. */
export function openStatement(bundle) {
  const data = get(bundle, "statement.json");
  const bad = (why) => new Refused("bad_statement", why);
  if (data.length > 4 * 1024 * 1024) throw bad("too long");
  const envelope = parse(data);
  const signer = envelope?.signatures?.[0];
  if (!isText(signer?.sig) || !isText(signer?.keyid)) throw bad("no signature");
  const payload = decode64(envelope.payload);
  const content = parse(payload);
  if (!Array.isArray(content?.subject) || !isObject(content.predicate)) throw bad("no subject, or no predicate");
  const subjects = new Map(content.subject.map((item) => [item?.name, item?.digest?.sha256]));
  const shape = {
    _type: "https://in-toto.io/Statement/v1",
    predicate: content.predicate,
    predicateType: "https://joulemark.org/report/v1",
    subject: [...subjects].sort(([one], [other]) => byCode(one, other))
      .map(([name, sha256]) => ({ digest: { sha256 }, name })),
  };
  const again = { payload: envelope.payload, payloadType: TYPE, signatures: [{ keyid: signer.keyid, sig: signer.sig }] };
  if (!equal(again, envelope) || !equal(shape, content)) throw bad("other parts");
  const signed = Buffer.concat([Buffer.from(`DSSEv1 ${TYPE.length} ${TYPE} ${payload.length} `), payload]);
  return { signed, keyId: signer.keyid, signature: decode64(signer.sig), subjects, predicate: content.predicate };
}

/** The codes of a statement that no trusted reporter signed, or that is of other files. */
export function* statementCodes(bundle, statement, signers) {
  const isOurs = (text) => statement.keyId === digest(decode64(text))
    && isSigned(decode64(text), statement.signed, statement.signature);
  if (!signers.reporters.some(isOurs)) yield "statement_signature";
  const bound = [...statement.subjects].filter(([name]) => !RENDERINGS.includes(name));
  const actual = ["manifest.json", "report.json"].filter((name) => bundle.members.has(name))
    .map((name) => [name, digest(bundle.members.get(name))]);
  const others = [...statement.subjects].filter(([name]) => RENDERINGS.includes(name));
  if (!equal(bound.sort(), actual) || !others.every(([, text]) => isDigest(text))) yield "statement_subject";
}

const isKey = (text) => {
  try {
    return decode64(text).length === 32;
  } catch {
    return false;
  }
};
const isList = (value, least, fits) => Array.isArray(value) && value.length >= least && value.length <= 10000
  && value.every(fits);
const isWitness = (item) => hasKeys(item, ["name", "key"]) && isText(item.name) && /^[^ +\n]+$/.test(item.name)
  && isKey(item.key);
const isAgent = (item) => hasKeys(item, ["agent", "site", "devices", "key"]) && isText(item.agent)
  && isText(item.site) && isList(item.devices, 1, isText) && isKey(item.key);
const isSize = (value) => isInteger(value) && value >= 0;
const isRevoked = (item) => isObject(item) && isKey(item.key) && originOf(item.origin) !== null && isSize(item.size)
  && Object.keys(item).every((name) => ["key", "origin", "size", "time", "reason"].includes(name));
const isHead = (item) => hasKeys(item, ["origin", "size", "root"]) && isSize(item.size) && isKey(item.root)
  && (originOf(item.origin) !== null || item.origin.startsWith("joulemark/collector/"));
const isAuthority = (item) => hasKeys(item, ["name", "certificates"]) && isList(item.certificates, 1, isText);

/** The signers in a value, with defaults; null: they are none. */
export function signersOf(value, isPolicy) {
  const names = ["v", "agents", "operators", "witnesses", "quorum", "reporters", "log_witnesses", "log_quorum"];
  const known = isPolicy ? [...names, "revoked", "heads", "authorities"] : names;
  if (!isObject(value) || Object.keys(value).some((name) => !known.includes(name))) return null;
  const all = { log_witnesses: [], log_quorum: 0, revoked: [], heads: [], authorities: [], ...value };
  const fits = all.v === 1 && isList(all.agents, 1, isAgent) && isList(all.operators, 1, isKey)
    && isList(all.witnesses, 1, isWitness) && isList(all.reporters, 1, isKey) && isList(all.log_witnesses, 0, isWitness)
    && isSize(all.log_quorum) && isSize(all.quorum) && all.quorum >= 1 && isList(all.revoked, 0, isRevoked)
    && isList(all.heads, 0, isHead) && isList(all.authorities, 0, isAuthority);
  if (!fits) return null;
  const kinds = (rows, name) => new Set(rows.map((row) => row[name]));
  const areDistinct = (rows, name) => kinds(rows, name).size === rows.length;
  if (!areDistinct(all.witnesses, "key") || !areDistinct(all.log_witnesses, "key")) return null;
  if (!areDistinct(all.authorities, "name")) return null;
  if (all.quorum > kinds(all.witnesses, "name").size) return null;
  if (all.log_quorum > kinds(all.log_witnesses, "name").size) return null;
  const roles = [kinds(all.agents, "key"), new Set(all.operators), kinds(all.witnesses, "key"),
    kinds(all.log_witnesses, "key"), new Set(all.reporters)];
  if (all.revoked.some(({ key }) => roles.slice(1).some((role) => role.has(key)))) return null;
  const together = new Set(roles.flatMap((role) => [...role]));
  return together.size === roles.reduce((sum, role) => sum + role.size, 0) ? all : null;
}

/** The signers as a statement names them: without what has its default. */
export function stated(signers) {
  const names = ["v", "agents", "operators", "witnesses", "quorum", "reporters"];
  const found = Object.fromEntries(names.map((name) => [name, signers[name]]));
  if (signers.log_witnesses.length) found.log_witnesses = signers.log_witnesses;
  if (signers.log_quorum) found.log_quorum = signers.log_quorum;
  return found;
}
