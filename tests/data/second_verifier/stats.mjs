// Least squares, correlated noise, Student's t (docs/format.md, 11.8 and 11.9).

import { Refused } from "./bytes.mjs";

const EPSILON = 2 ** -52;

/** The correctly rounded sum: partial sums that do not overlap, then their sum. */
export function fsum(values) {
  const partials = [];
  for (let x of values) {
    let kept = 0;
    for (let y of partials) {
      if (Math.abs(x) < Math.abs(y)) [x, y] = [y, x];
      const high = x + y;
      const low = y - (high - x);
      if (low) partials[kept++] = low;
      x = high;
    }
    partials.length = kept;
    partials.push(x);
  }
  let total = partials.pop() ?? 0;
  while (partials.length) {
    const x = total;
    const y = partials.pop();
    total = x + y;
    const low = y - (total - x);
    if (!low) continue;
    const next = partials.at(-1) ?? 0;
    if ((low < 0 && next < 0) || (low > 0 && next > 0)) {
      const twice = low * 2;
      if (twice === total + twice - total) total += twice;
    }
    break;
  }
  return total;
}

export const mean = (values) => fsum(values) / values.length;

/** Sum of squares about the mean; 0 for equal values. */
export function spread(values) {
  if (values.every((value) => value === values[0])) return 0;
  const middle = mean(values);
  return fsum(values.map((value) => (value - middle) ** 2));
}

export const sd = (values) => Math.sqrt(spread(values) / (values.length - 1));

const refuse = (code) => new Refused(code, "the baseline gives no model");
const range = (n) => Array.from({ length: n }, (_, i) => i);
export const row = (x, basis) => basis.map((_, k) => x.reduce((sum, value, j) => sum + value * basis[j][k], 0));
export const squared = (values) => values.reduce((sum, value) => sum + value * value, 0);

/** The least-squares baseline of rows x (exposure first) and y at places of the grid. */
export function fit(x, y, position) {
  const [n, p] = [y.length, x[0]?.length ?? 0];
  if (n <= p || n === 0) throw refuse("too_few_units");
  if (y.every((value) => value === 0)) throw refuse("no_load");
  const sst = spread(y);
  if (sst === 0) throw refuse("constant_load");
  for (let j = 1; j < p; j++) if (spread(x.map((r) => r[j])) === 0) throw refuse("constant_driver");
  const { beta, basis, diagonal } = solve(x, y, p);
  if (!(Math.min(...diagonal.map(Math.abs)) > 4 * n * EPSILON)) throw refuse("collinear_drivers");
  let e = y.map((value, i) => value - x[i].reduce((sum, part, j) => sum + part * beta[j], 0));
  const largest = (values) => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  if (largest(e) <= 1e-12 * largest(y)) e = e.map(() => 0);
  const sse = fsum(e.map((value) => value ** 2));
  const inverse = range(p).map((i) => range(p).map((k) => range(p).reduce((s, j) => s + basis[i][j] * basis[k][j], 0)));
  return { x, y, position, n, p, beta, basis, inverse, e, sse, sst, variance: sse / (n - p) };
}

function solve(x, y, p) {
  const n = y.length;
  const scale = range(p).map((j) => {
    const largest = x.reduce((most, r) => Math.max(most, Math.abs(r[j])), 0);
    return largest * Math.sqrt(x.reduce((sum, r) => sum + (largest ? (r[j] / largest) ** 2 : 0), 0));
  });
  const a = x.map((r, i) => [...r.map((value, j) => (scale[j] > 0 ? value / scale[j] : 0)), y[i]]);
  for (let j = 0; j < p; j++) reflect(a, j, n, p);
  const beta = new Array(p).fill(0);
  const basis = range(p).map(() => new Array(p).fill(0));
  for (let j = p - 1; j >= 0; j--) {
    let total = a[j][p];
    for (let k = j + 1; k < p; k++) total -= a[j][k] * beta[k];
    beta[j] = total / a[j][j];
    basis[j][j] = 1 / a[j][j];
    for (let k = j + 1; k < p; k++) {
      let sum = 0;
      for (let m = j + 1; m <= k; m++) sum -= a[j][m] * basis[m][k];
      basis[j][k] = sum / a[j][j];
    }
  }
  const diagonal = range(p).map((j) => (scale[j] > 0 ? a[j][j] : 0));
  return { beta: beta.map((b, j) => b / scale[j]), basis: basis.map((r, j) => r.map((b) => b / scale[j])), diagonal };
}

function reflect(a, j, n, p) {
  let norm = 0;
  for (let i = j; i < n; i++) norm += a[i][j] * a[i][j];
  norm = Math.sqrt(norm);
  if (norm === 0) return;
  const diagonal = a[j][j] > 0 ? -norm : norm;
  const head = a[j][j] - diagonal;
  const square = -diagonal * head;
  a[j][j] = diagonal;
  for (let k = j + 1; k <= p; k++) {
    let total = head * a[j][k];
    for (let i = j + 1; i < n; i++) total += a[i][j] * a[i][k];
    total /= square;
    a[j][k] -= total * head;
    for (let i = j + 1; i < n; i++) a[i][k] -= total * a[i][j];
  }
}

/** sum_ij v_i w_j r^|place_i - place_j|. */
function correlated(v, w, place, r) {
  const filtered = w.map(() => 0);
  let carried = 0;
  for (let i = 0; i < w.length; i++) {
    if (i > 0) carried *= r ** (place[i] - place[i - 1]);
    carried += w[i];
    filtered[i] += carried;
  }
  carried = 0;
  for (let i = w.length - 2; i >= 0; i--) {
    carried = (carried + w[i + 1]) * r ** (place[i + 1] - place[i]);
    filtered[i] += carried;
  }
  return v.reduce((sum, value, i) => sum + value * filtered[i], 0);
}

/** The noise of a model's residuals. */
export function noiseOf(model) {
  const { n, p, e, position, sse } = model;
  const rho = lagOne(e, position);
  const r = Math.min(Math.max(rho + (1 + 4 * rho) / n + (p - 1) / n, 0), 0.99);
  const effective = (n * (1 - r)) / (1 + r);
  if (effective - p < 1) throw refuse("residuals_too_correlated");
  const rows = model.x.map((one) => row(one, model.basis));
  const columns = range(p).map((j) => rows.map((one) => one[j]));
  const inner = columns.map((one) => columns.map((other) => correlated(one, other, position, r)));
  return { rho, r, effective, degrees: effective - p, variance: sse / (n - (p * (1 + r)) / (1 - r)), inner, model };
}

function lagOne(e, position) {
  const pairs = range(e.length - 1).filter((i) => position[i + 1] - position[i] === 1);
  if (pairs.length < 2) return 0;
  const centred = (values) => {
    const middle = mean(values);
    return values.map((value) => value - middle);
  };
  const [one, other] = [centred(pairs.map((i) => e[i])), centred(pairs.map((i) => e[i + 1]))];
  const squares = fsum(one.map((v) => v ** 2)) * fsum(other.map((v) => v ** 2));
  return squares <= 0 ? 0 : fsum(one.map((v, i) => v * other[i])) / Math.sqrt(squares);
}

const sandwich = (c, inner) =>
  c.reduce((sum, cj, j) => sum + c.reduce((part, ck, k) => part + cj * inner[j][k] * ck, 0), 0);

/** The variance of a weighted sum of savings over rows at places. */
export function varianceOf(noise, x, place, weights) {
  const rows = x.map((one) => row(one, noise.model.basis));
  const c = noise.inner.map((_, k) => rows.reduce((sum, one, i) => sum + weights[i] * one[k], 0));
  return noise.variance * (correlated(weights, weights, place, noise.r) + sandwich(c, noise.inner));
}

/** The variance of the sum of the first k savings, for every k. */
export function cumulativeVariances(noise, x, place) {
  const c = noise.inner.map(() => 0);
  let [own, carried] = [0, 0];
  return x.map((one, i) => {
    if (i > 0) carried *= noise.r ** (place[i] - place[i - 1]);
    own += 1 + 2 * carried;
    carried += 1;
    row(one, noise.model.basis).forEach((value, k) => (c[k] += value));
    return noise.variance * (own + sandwich(c, noise.inner));
  });
}

export const halfWidth = (noise, variance, confidence) =>
  quantile((1 + confidence) / 2, noise.degrees) * Math.sqrt(variance);

// --- Student's t ---------------------------------------------------------------------------------

/** ln(Gamma(a + 1/2) / Gamma(a)). */
function logGammaRatio(a) {
  let shifted = 0;
  for (; a < 30; a++) shifted += Math.log(a / (a + 0.5));
  const b = 1 / a;
  return shifted + 0.5 * Math.log(a) + b * (-1 / 8 + b ** 2 * (1 / 192 + b ** 2 * (-1 / 640 + (b ** 2 * 17) / 14336)));
}

/** P(T > t), by the continued fraction of the incomplete beta function (DLMF 8.17.22). */
export function tail(t, degrees) {
  if (t < 0) return 1 - tail(-t, degrees);
  const half = degrees / 2;
  const inside = (t * t) / (degrees + t * t);
  if (inside < 1.5 / (half + 2.5)) return 0.5 - 0.5 * betaPart(t, degrees, 0.5, half, inside);
  return 0.5 * betaPart(t, degrees, half, 0.5, 1 - inside);
}

function betaPart(t, degrees, a, b, x) {
  if (x <= 0) return 0;
  const front = logGammaRatio(degrees / 2) - 0.5 * Math.log(Math.PI) + Math.log(Math.abs(t) / Math.sqrt(degrees))
    - ((degrees + 1) / 2) * Math.log1p((t * t) / degrees);
  return (Math.exp(front) * fraction(a, b, x)) / a;
}

function fraction(a, b, x) {
  const kept = (value) => (Math.abs(value) > 1e-300 ? value : 1e-300);
  let [c, d] = [1, 1 / kept(1 - ((a + b) * x) / (a + 1))];
  let value = d;
  for (let m = 1; m < 20_000; m++) {
    const terms = [(m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m)),
      (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1))];
    for (const term of terms) {
      d = 1 / kept(1 + term * d);
      c = kept(1 + term / c);
      value *= c * d;
    }
    if (Math.abs(c * d - 1) < 4e-16) break;
  }
  return value;
}

/** The t with P(T <= t) = probability, which is above 1/2. */
export function quantile(probability, degrees) {
  const target = 1 - probability;
  let [low, high] = [0, 1];
  while (tail(high, degrees) > target) [low, high] = [high, 2 * high];
  let t = high;
  for (let k = 0; k < 200; k++) {
    const error = tail(t, degrees) - target;
    [low, high] = error > 0 ? [t, high] : [low, t];
    const density = Math.exp(logGammaRatio(degrees / 2) - 0.5 * Math.log(degrees * Math.PI)
      - ((degrees + 1) / 2) * Math.log1p((t * t) / degrees));
    let next = t + error / density;
    if (!(low < next && next < high)) next = (low + high) / 2;
    if (Math.abs(next - t) <= 1e-15 * t) return next;
    t = next;
  }
  return t;
}
