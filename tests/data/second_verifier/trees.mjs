// Merkle trees, covers, signed notes and the lines that hold leaves (docs/format.md, 3.2 and 6).

import { createPublicKey, verify as verifyBytes } from "node:crypto";
import { Refused, decode64, hasKeys, isText, parse, sha256, u64 } from "./bytes.mjs";

const ED25519 = Buffer.from("302a300506032b6570032100", "hex");
const RUN = Buffer.from('{"withheld":');
const keys = new Map();

/** Whether the Ed25519 signature is the key's over the message. */
export function isSigned(key, message, signature) {
  if (key.length !== 32 || signature.length !== 64) return false;
  const name = key.toString("hex");
  try {
    if (!keys.has(name)) {
      keys.set(name, createPublicKey({ key: Buffer.concat([ED25519, key]), format: "der", type: "spki" }));
    }
    return verifyBytes(null, message, keys.get(name), signature);
  } catch {
    return false;
  }
}

const leafHash = (leaf) => sha256(Buffer.of(0), leaf);
const nodeHash = (left, right) => sha256(Buffer.of(1), left, right);

/** A tree that grows: its size and the roots of its perfect subtrees, largest first. */
export class Edge {
  size = 0;
  hashes = [];

  root() {
    if (this.hashes.length === 0) return sha256(Buffer.alloc(0));
    return this.hashes.reduceRight((folded, left) => nodeHash(left, folded));
  }

  add(part) {
    if (Buffer.isBuffer(part)) return this.push(leafHash(part), 1);
    const sizes = coverSizes(this.size, part.count);
    if (sizes.length !== part.hashes.length) throw new Refused("bad_batch", "a cover of another length");
    sizes.forEach((width, k) => this.push(part.hashes[k], width));
  }

  push(hash, width) {
    for (let w = width; Math.floor(this.size / w) % 2 === 1; w *= 2) hash = nodeHash(this.hashes.pop(), hash);
    this.hashes.push(hash);
    this.size += width;
  }
}

function coverSizes(first, count) {
  const sizes = [];
  while (count > 0) {
    let width = 1;
    while (width * 2 <= count && first % (width * 2) === 0) width *= 2;
    sizes.push(width);
    first += width;
    count -= width;
  }
  return sizes;
}

/** The parts of unpacked lines: a leaf as bytes, a run as { count, hashes }. */
export function partsOf(plain, isFirstFormat) {
  const bad = (why) => new Refused("bad_leaves", why);
  if (plain.length === 0 || plain[plain.length - 1] !== 10) throw bad("it does not end with a line");
  const parts = [];
  for (let at = 0; at < plain.length; ) {
    const end = plain.indexOf(10, at);
    parts.push(plain.subarray(at, end));
    at = end + 1;
    if (parts.length * 48 > plain.length) throw bad("more lines than leaves have room");
  }
  const found = parts.map(partOf);
  if (isFirstFormat && found.some((part) => !Buffer.isBuffer(part))) throw bad("a run in the first format");
  return found;
}

function partOf(line) {
  if (line.compare(RUN, 0, RUN.length, 0, Math.min(RUN.length, line.length)) !== 0) return line;
  const content = parse(line);
  const run = content.withheld;
  const bad = (why) => new Refused("bad_batch", why);
  if (!hasKeys(content, ["withheld"]) || !hasKeys(run, ["count", "hashes"])) throw bad("no run");
  const count = u64(run.count);
  if (count === null || count < 1n || count > 1000000n) throw bad("no length of a run");
  if (!Array.isArray(run.hashes) || run.hashes.length < 1 || run.hashes.length > 128) throw bad("no cover");
  const hashes = run.hashes.map(decode64);
  if (hashes.some((hash) => hash.length !== 32)) throw bad("no hash");
  return { count: Number(count), hashes };
}

export const countOf = (part) => (Buffer.isBuffer(part) ? 1 : part.count);

/** Each part with the index of its first leaf. */
export function* numbered(parts, first = 0) {
  for (const part of parts) {
    yield [first, part];
    first += countOf(part);
  }
}

const SIGNATURE = /^— ([^\p{White_Space}+]+) ([A-Za-z0-9+/]+={0,2})$/u;
const bad = (why) => new Refused("bad_note", why);

/** Text and signature lines of a note. */
export function parseNote(note) {
  if (Buffer.byteLength(note) > 65536 || /[\x00-\x09\x0b-\x1f\x7f]/.test(note)) throw bad("too long or control");
  const at = note.lastIndexOf("\n\n");
  const tail = note.slice(at + 2);
  if (at <= 0 || tail === "" || !tail.endsWith("\n")) throw bad("no text, or no signatures");
  const lines = tail.slice(0, -1).split("\n").map((line) => {
    const match = SIGNATURE.exec(line);
    if (match === null) throw bad("a signature line");
    const data = decode64(match[2]);
    if (data.length < 5) throw bad("a short signature");
    return { name: match[1], keyId: data.subarray(0, 4), body: data.subarray(4) };
  });
  if (lines.length > 16) throw bad("too many signatures");
  return { text: note.slice(0, at + 1), lines };
}

/** Origin, size (number) and root of a checkpoint. */
export function parseCheckpoint(text) {
  const lines = text.split("\n");
  if (lines.length !== 4 || lines[3] !== "" || lines[0] === "") throw bad("not three lines");
  if (!/^(0|[1-9][0-9]{0,18})$/.test(lines[1]) || BigInt(lines[1]) >= 2n ** 63n) throw bad("no size");
  const root = decode64(lines[2]);
  if (root.length !== 32) throw bad("no root");
  return { origin: lines[0], size: Number(lines[1]), sizeText: lines[1], root: lines[2] };
}

export const headOf = (note) => parseCheckpoint(parseNote(note).text);

/** What names a key in a signature line. */
export const keyIdOf = (name, kind, key) => sha256(Buffer.from(`${name}\n`), Buffer.of(kind), key).subarray(0, 4);

function linesOf(note, name, kind, key) {
  const id = keyIdOf(name, kind, key);
  const { text, lines } = parseNote(note);
  return { text, mine: lines.filter((line) => line.name === name && line.keyId.equals(id)) };
}

/** Whether the key signed the checkpoint for its origin. */
export function isLogSigned(note, key) {
  const { text, mine } = linesOf(note, parseNote(note).text.split("\n")[0], 1, key);
  return mine.length > 0 && mine.every((line) => isSigned(key, Buffer.from(text), line.body));
}

/** POSIX seconds (BigInt) at which the witness cosigned, or null. */
export function cosignedAt(note, name, key) {
  const { text, mine } = linesOf(note, name, 4, key);
  let latest = null;
  for (const { body } of mine) {
    if (body.length !== 72) return null;
    const time = body.readBigUInt64BE(0);
    const message = Buffer.from(`cosignature/v1\ntime ${time}\n${text}`);
    if (!isSigned(key, message, body.subarray(8))) return null;
    if (latest === null || time > latest) latest = time;
  }
  return latest;
}

export const isNoteList = (notes) => Array.isArray(notes) && notes.every(isText);
