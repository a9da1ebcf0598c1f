// The container and the compressed members (docs/format.md, 2.3 and 2.5).

import { inflateRawSync } from "node:zlib";
import { Refused, byCode } from "./bytes.mjs";

const MOST_BYTES = 256 * 1024 * 1024;
const MOST_MEMBERS = 4096;
const NAME = /^[a-z0-9_-][a-z0-9._-]*(?:\/[a-z0-9_-][a-z0-9._-]*)*$/;
const TABLE = Int32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c;
});

export function crc32(data) {
  let crc = -1;
  for (let i = 0; i < data.length; i++) crc = TABLE[(crc ^ data[i]) & 0xff] ^ (crc >>> 8);
  return (crc ^ -1) >>> 0;
}

function fields(...pairs) {
  return Buffer.concat(
    pairs.map(([size, value]) => {
      const out = Buffer.alloc(size);
      out.writeUIntLE(value, 0, size);
      return out;
    }),
  );
}

const bad = (why) => new Refused("bad_container", why);

function common(data, name) {
  const plain = [2, 0];
  return [[2, 10], plain, plain, plain, [2, 33], [4, crc32(data)], [4, data.length], [4, data.length],
    [2, name.length], plain];
}

function container(members) {
  const parts = [];
  const directory = [];
  let offset = 0;
  for (const name of [...members.keys()].sort(byCode)) {
    const data = members.get(name);
    const label = Buffer.from(name, "latin1");
    const local = Buffer.concat([Buffer.from("PK\x03\x04", "latin1"), fields(...common(data, name)), label]);
    const entry = fields([2, 778], ...common(data, name), [2, 0], [2, 0], [2, 0], [4, 0x81a40000], [4, offset]);
    directory.push(Buffer.from("PK\x01\x02", "latin1"), entry, label);
    parts.push(local, data);
    offset += local.length + data.length;
  }
  const entries = Buffer.concat(directory);
  const n = members.size;
  const end = fields([2, 0], [2, 0], [2, n], [2, n], [4, entries.length], [4, offset], [2, 0]);
  return Buffer.concat([...parts, entries, Buffer.from("PK\x05\x06", "latin1"), end]);
}

/** The members by name. */
export function readContainer(data) {
  if (data.length > MOST_BYTES) throw bad("too long");
  const members = new Map();
  let at = 0;
  while (data.toString("latin1", at, at + 4) === "PK\x03\x04" && members.size < MOST_MEMBERS) {
    if (at + 30 > data.length) throw bad("cut inside a header");
    const size = data.readUInt32LE(at + 18);
    const nameEnd = at + 30 + data.readUInt16LE(at + 26);
    if (nameEnd + size > data.length) throw bad("a header does not fit");
    const name = data.toString("latin1", at + 30, nameEnd);
    if (name.length > 200 || !NAME.test(name)) throw bad("a name is not plain");
    members.set(name, data.subarray(nameEnd, nameEnd + size));
    at = nameEnd + size;
  }
  for (const name of members.keys()) {
    const parts = name.split("/");
    for (let k = 1; k < parts.length; k++) {
      if (members.has(parts.slice(0, k).join("/"))) throw bad("a file inside a file");
    }
  }
  if (members.size === 0 || !container(members).equals(data)) throw bad("not in the one form");
  return members;
}

/** What one gzip member unpacks to. */
export function unpack(data, limit) {
  const refuse = (why) => new Refused("bad_leaves", why);
  const start = bodyOf(data);
  if (start === null) throw refuse("no gzip member");
  const most = Math.min(limit, Math.max(160 * data.length, 65536));
  let found;
  try {
    found = inflateRawSync(data.subarray(start), { info: true, maxOutputLength: most });
  } catch (error) {
    throw refuse(String(error.message));
  }
  const end = start + found.engine.bytesWritten;
  const whole = end + 8 === data.length;
  if (!whole || data.readUInt32LE(end) !== crc32(found.buffer)) throw refuse("its end is not right");
  if (data.readUInt32LE(end + 4) !== found.buffer.length % 2 ** 32) throw refuse("its length is not right");
  return found.buffer;
}

/** Where the deflated bytes begin; null: the header is none. */
function bodyOf(data) {
  if (data.length < 18 || data[0] !== 0x1f || data[1] !== 0x8b || data[2] !== 8) return null;
  const flags = data[3];
  if (flags & 0xe0) return null;
  let at = 10;
  if (flags & 4) at += 2 + data.readUInt16LE(at);
  for (const flag of [8, 16]) {
    if (flags & flag) {
      const zero = data.indexOf(0, at);
      if (zero < 0) return null;
      at = zero + 1;
    }
  }
  if (flags & 2) {
    if (at + 2 > data.length || data.readUInt16LE(at) !== (crc32(data.subarray(0, at)) & 0xffff)) return null;
    at += 2;
  }
  return at;
}
