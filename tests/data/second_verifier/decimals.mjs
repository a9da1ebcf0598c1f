// Exact decimals, n / 10^p, and how figures are printed (docs/format.md, 10.3 to 10.5 and 12.1).

const TEXT = /^([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d+))?$/;
const MOST_DIGITS = 10;
const ten = (power) => 10n ** BigInt(power);

/** The decimal in its least places. */
export function decimal(n, p = 0) {
  if (p < 0) return { n: n * ten(-p), p: 0 };
  while (p > 0 && n % 10n === 0n) [n, p] = [n / 10n, p - 1];
  return { n, p };
}

/** The decimal of a document's value or of a number's shortest text; null: it is none. */
export function decimalOf(value) {
  if (typeof value === "bigint") return { n: value, p: 0 };
  const match = TEXT.exec(String(value));
  if (match === null || !(match[2] || match[3])) return null;
  const [, sign, whole, fraction = "", exponent = "0"] = match;
  if (Math.abs(Number(exponent)) > 400) return null;
  const n = BigInt(`${whole}${fraction}`);
  return decimal(sign === "-" ? -n : n, fraction.length - Number(exponent));
}

export const scaled = (one, power) => decimal(one.n, one.p - power);
export const times = (one, other) => decimal(one.n * other.n, one.p + other.p);

export function plus(one, other) {
  const p = Math.max(one.p, other.p);
  return decimal(one.n * ten(p - one.p) + other.n * ten(p - other.p), p);
}

export function compare(one, other) {
  const p = Math.max(one.p, other.p);
  const [a, b] = [one.n * ten(p - one.p), other.n * ten(p - other.p)];
  return a < b ? -1 : a > b ? 1 : 0;
}

export const floor = ({ n, p }) => divided(n, ten(p)).quotient;
export const ceil = ({ n, p }) => -divided(-n, ten(p)).quotient;
export const number = (one) => Number(plain(one));

function divided(n, by) {
  let quotient = n / by;
  if (n % by < 0n) quotient -= 1n;
  return { quotient, rest: n - quotient * by };
}

/** n / by, half to even. */
export function rounded(n, by) {
  const { quotient, rest } = divided(n, by);
  const twice = 2n * rest;
  return twice > by || (twice === by && quotient % 2n !== 0n) ? quotient + 1n : quotient;
}

/** The text with at least so many places. */
export function plain({ n, p }, least = 0) {
  const digits = String(n < 0n ? -n : n).padStart(p + 1, "0");
  const whole = digits.slice(0, digits.length - p);
  const fraction = digits.slice(digits.length - p).padEnd(least, "0");
  return `${n < 0n ? "-" : ""}${whole}${fraction ? `.${fraction}` : ""}`;
}

/** The exponent of the first digit. */
const first = ({ n, p }) => (n === 0n ? 0 : String(n < 0n ? -n : n).length - 1 - p);

function roundedTo(one, digits) {
  const shift = digits - one.p;
  const n = shift >= 0 ? one.n * ten(shift) : rounded(one.n, ten(-shift));
  return digits >= 0 ? { n, p: digits } : { n: n * ten(-digits), p: 0 };
}

const exact = (value) => (typeof value === "object" ? value : decimalOf(value));

export function places(value, digits) {
  const one = exact(value);
  let allowed = Math.min(digits, MOST_DIGITS - Math.max(first(one) + 1, 1));
  const tried = roundedTo(one, allowed);
  if (tried.n !== 0n && first(tried) > Math.max(first(one), 0)) {
    allowed = Math.min(digits, MOST_DIGITS - first(tried) - 1);
  }
  return plain(roundedTo(one, allowed), Math.max(allowed, 0));
}

export function significant(value, digits) {
  const one = exact(value);
  if (one.n === 0n) return "0";
  const found = roundedTo(one, Math.min(digits, MOST_DIGITS) - first(one) - 1);
  return plain(decimal(found.n, found.p));
}

export const kwh = (value) => places(scaled(exact(value), -3), 3);
export const tonnes = (value) => places(scaled(exact(value), -3), 6);
export const percent = (value) => places(scaled(exact(value), 2), 4);
export const ratio = (part, whole) => decimal(rounded(BigInt(part) * ten(40), BigInt(whole)), 40);
export const share = (part, whole) => (BigInt(whole) === 0n ? null : percent(ratio(part, whole)));
export const hours = (us) => places(ratio(us, 3_600_000_000), 4);

/** A headline: value and half-width, this one with four significant digits. */
export function withHalfWidth(value, width) {
  const wide = exact(width);
  const digits = wide.n === 0n ? 0 : Math.max(3 - first(wide), 0);
  return [places(value, digits), places(wide, digits)];
}

// --- shortest decimals ---------------------------------------------------------------------------

const half = (x) => {
  const size = Math.abs(x);
  const exponent = Math.max(Math.floor(Math.log2(size)), -14);
  const unit = 2 ** (exponent - 10);
  const whole = Math.floor(size / unit);
  const rest = size / unit - whole;
  const up = rest > 0.5 || (rest === 0.5 && whole % 2 === 1) ? 1 : 0;
  return Math.sign(x) * (whole + up) * unit;
};

function halfValue(word) {
  const [sign, exponent, mantissa] = [word >> 15 ? -1 : 1, (word >> 10) & 31, word & 1023];
  if (exponent === 31) return NaN;
  return sign * (exponent ? (1024 + mantissa) * 2 ** (exponent - 25) : mantissa * 2 ** -24);
}

/** The nearest decimal with so many significant digits, ties to even. */
function nearest(x, digits) {
  const bits = new DataView(new ArrayBuffer(8));
  bits.setFloat64(0, Math.abs(x));
  const field = Number(bits.getBigUint64(0) >> 52n);
  const mantissa = (bits.getBigUint64(0) & (2n ** 52n - 1n)) + (field ? 2n ** 52n : 0n);
  const power = Math.max(field, 1) - 1075;
  const size = Number(Math.abs(x).toExponential(17).split("e")[1]);
  let p = digits - 1 - size;
  const above = mantissa * 2n ** BigInt(Math.max(power, 0)) * ten(Math.max(p, 0));
  const below = 2n ** BigInt(Math.max(-power, 0)) * ten(Math.max(-p, 0));
  let n = rounded(above, below);
  if (n >= ten(digits)) [n, p] = [n / 10n, p - 1];
  return decimal(x < 0 ? -n : n, p);
}

/** The shortest decimal of a big-endian float of 2, 4 or 8 bytes; null: it is no number. */
export function shortest(data) {
  const value = data.length === 8 ? data.readDoubleBE(0) : data.length === 4 ? data.readFloatBE(0)
    : halfValue(data.readUInt16BE(0));
  if (!Number.isFinite(value)) return null;
  if (value === 0) return decimal(0n);
  if (data.length === 8) return decimalOf(value);
  const narrow = data.length === 4 ? Math.fround : half;
  const least = data.length === 4 && Math.abs(value) >= 2 ** -126 ? 6 : 1;
  for (let digits = least; ; digits++) {
    const found = nearest(value, digits);
    if (narrow(number(found)) === value) return found;
  }
}
