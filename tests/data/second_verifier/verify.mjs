// A second verifier of bundles, written from docs/format.md alone. No packages; node >= 18.
//
//   node verify.mjs BUNDLE [POLICY]    prints one JSON line; exit 0 verified, 1 refuted, 2 undecidable
//   node verify.mjs --batch            reads lines {"bundle": PATH, "policy": PATH or null, "quick": boolean}
//   node verify.mjs --decode           reads lines {"profile": PROFILE, "raw": RAW}, prints values and quality

import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { Refused, Undecided, isObject } from "./bytes.mjs";
import { checkManifest, logFiles, openBundle, openStatement, signersOf, treeFiles } from "./bundle.mjs";
import { checkDocuments, checkHeads, checkRecords, checkSigners, checkTimes } from "./layers.mjs";
import { parseTree } from "./leaves.mjs";
import { decodeAll } from "./decode.mjs";
import { checkAnchors, checkCorrections, checkLog, checkPlans, readAccount } from "./log.mjs";
import { profileFrom } from "./profile.mjs";
import { checkDecode, checkReport } from "./recompute.mjs";

const VERSION = "0.1.0"; // of the software whose figures are repeated
const RECOMPUTE = "recompute";
const WITHOUT_TREES = ["manifest", "signers", "heads"];
const LAYERS = {
  manifest: checkManifest, signers: checkSigners, heads: checkHeads, records: checkRecords, documents: checkDocuments,
  decode: checkDecode, [RECOMPUTE]: checkReport, times: checkTimes, log: checkLog, corrections: checkCorrections,
  plans: checkPlans, anchors: checkAnchors,
};

/** A value, or the error that it is. */
function tried(make) {
  try {
    return { value: make() };
  } catch (error) {
    return { error };
  }
}

/** A getter that is worked out once. */
function lazily(makers) {
  const found = {};
  for (const [name, make] of Object.entries(makers)) {
    Object.defineProperty(found, name, {
      configurable: true,
      get() {
        const value = make(found);
        Object.defineProperty(found, name, { value });
        return value;
      },
    });
  }
  return found;
}

/** What the layers need of a bundle. */
function caseOf(bundle, policy) {
  return lazily({
    bundle: () => bundle,
    policy: () => policy,
    documents: () => bundle.documents,
    statement: () => tried(() => openStatement(bundle)),
    claimed: ({ statement }) => (statement.value ? signersOf(statement.value.predicate.signers, false) : null),
    signers: ({ claimed }) => policy ?? claimed,
    places: () => treeFiles(bundle).map(withTree),
    trees: ({ places }) => places.flatMap(({ tree }) => (tree ? [tree] : [])),
    account: () => {
      const account = tried(() => {
        const files = logFiles(bundle);
        return files === null ? null : readAccount(files, bundle.tokens);
      });
      return account.value === null ? { missing: true } : account;
    },
  });
}

function withTree(place) {
  if (!place.files) return place;
  const { value, error } = tried(() => parseTree(place.files.parts));
  return { ...place, tree: value, error };
}

/** Exit code, findings by layer, and what could not be judged; `isQuick`: until one layer objects. */
export function verify(data, policy, isQuick = false) {
  const { value: bundle, error } = tried(() => openBundle(data));
  if (error) return { exit: 2, findings: [["container", error.code ?? "unforeseen"]], undecided: [] };
  const subject = caseOf(bundle, policy);
  const findings = [];
  const undecided = [];
  for (const [layer, check] of Object.entries(LAYERS)) {
    try {
      for (const code of check(subject)) findings.push([layer, code]);
    } catch (error_) {
      if (error_ instanceof Undecided) undecided.push(error_.message);
      else findings.push([layer, error_ instanceof Refused ? error_.code : `unforeseen: ${error_.stack}`]);
    }
    if (isQuick && findings.some(([by]) => WITHOUT_TREES.includes(by))) return { exit: 1, findings, undecided };
  }
  const { places, statement } = subject;
  const unread = places.filter((place) => place.error instanceof Undecided).map(({ error: one }) => one.message);
  undecided.push(...unread);
  const software = statement.value?.predicate.software;
  const isOther = Boolean(statement.value) && (isObject(software) ? software.version : null) !== VERSION;
  // What needs a tree that could not be read here says nothing against the bundle.
  const counts = ([layer, code]) => (unread.length ? WITHOUT_TREES.includes(layer) : code !== "not_recomputed");
  const isOpen = undecided.length > 0 && !findings.some(counts);
  const isTheirs = findings.length > 0 && isOther && findings.every(([layer]) => layer === RECOMPUTE);
  const exit = isOpen || isTheirs ? 2 : findings.length ? 1 : 0;
  return { exit, findings, undecided, compared: "not report.html, nor the words for readers" };
}

function policyIn(path) {
  if (!path) return null;
  const policy = signersOf(JSON.parse(readFileSync(path, "utf8")), true);
  if (policy === null) throw new Error(`${path} is no policy`);
  return policy;
}

async function decodings() {
  for await (const line of createInterface({ input: process.stdin })) {
    const { profile, raw } = JSON.parse(line);
    const responses = raw.map(([table, address, data]) => ({ table, address, data: Buffer.from(data, "hex") }));
    console.log(JSON.stringify(decodeAll(profileFrom(profile, {}), responses)));
  }
}

async function batch() {
  for await (const line of createInterface({ input: process.stdin })) {
    const { bundle, policy, quick } = JSON.parse(line);
    console.log(JSON.stringify(verify(readFileSync(bundle), policyIn(policy), quick)));
  }
}

const [path, policy] = process.argv.slice(2);
if (path === "--batch") await batch();
else if (path === "--decode") await decodings();
else if (path) {
  const verdict = verify(readFileSync(path), policyIn(policy));
  console.log(JSON.stringify(verdict));
  process.exitCode = verdict.exit;
}
