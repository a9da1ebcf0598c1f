// Local time of an IANA zone, by the tables that Node brings.

const DAY = 86_400_000_000;
const QUARTER = 900_000_000;
const formats = new Map();
const offsets = new Map();

/** Seconds that local time is ahead of UTC at an instant. [us -> us] */
export function offsetAt(us, zone) {
  const slot = Math.floor(us / QUARTER);
  const name = `${zone} ${slot}`;
  if (!offsets.has(name)) offsets.set(name, ask(slot * QUARTER, zone));
  return offsets.get(name);
}

function ask(us, zone) {
  if (!formats.has(zone)) {
    const parts = { year: "numeric", month: "numeric", day: "numeric", hour: "numeric", minute: "numeric",
      second: "numeric" };
    formats.set(zone, new Intl.DateTimeFormat("en-US", { timeZone: zone, hourCycle: "h23", era: "short", ...parts }));
  }
  const found = {};
  for (const { type, value } of formats.get(zone).formatToParts(us / 1000)) found[type] = Number(value);
  const local = Date.UTC(found.year, found.month - 1, found.day, found.hour, found.minute, found.second);
  return local * 1000 - Math.floor(us / 1_000_000) * 1_000_000;
}

/** The local day as a number since 1970. */
export const dayOf = (us, zone) => Math.floor((us + offsetAt(us, zone)) / DAY);
export const dayNumber = (text) => Date.parse(`${text}T00:00:00Z`) / 86_400_000;
export const dayText = (day) => new Date(day * 86_400_000).toISOString().slice(0, 10);

/** The instant at which a local day starts. [us] */
export function midnight(day, zone) {
  const local = day * DAY;
  const [early, late] = [local - offsetAt(local - DAY, zone), local - offsetAt(local + DAY, zone)];
  if (early + offsetAt(early, zone) === local) return early;
  return late + offsetAt(late, zone) === local ? late : early;
}

const sign = (offset) => {
  const minutes = Math.floor(Math.abs(offset) / 60_000_000);
  const two = (n) => String(n).padStart(2, "0");
  return `${offset < 0 ? "-" : "+"}${two(Math.floor(minutes / 60))}:${two(minutes % 60)}`;
};

/** As it is printed: 2018-11-08 00:00 +09:00. */
export function localTime(us, zone) {
  const offset = offsetAt(us, zone);
  const rest = ((us % 1_000_000) + 1_000_000) % 1_000_000;
  const whole = new Date((us - rest + offset) / 1000).toISOString();
  const seconds = whole.slice(17, 19) !== "00" || rest ? `:${whole.slice(17, 19)}` : "";
  const fraction = rest ? `.${String(rest).padStart(6, "0")}` : "";
  return `${whole.slice(0, 10)} ${whole.slice(11, 16)}${seconds}${fraction} ${sign(offset)}`;
}

/** As an hour is labelled: 2018-11-08T00:00+09:00. */
export const label = (us, zone) => {
  const offset = offsetAt(us, zone);
  return `${new Date((us + offset) / 1000).toISOString().slice(0, 16)}${sign(offset)}`;
};
