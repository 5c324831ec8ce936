// Numbers and times as people read them. Pure: the same input, the same text.

const UNITS = [["d", 86_400_000], ["h", 3_600_000], ["min", 60_000], ["s", 1000]];

/** A length of time, in its two largest units: `3 h 12 min`, `4 s`. */
export function age(ms) {
  const left = Math.max(0, ms);
  const first = UNITS.findIndex(([, size]) => left >= size);
  if (first < 0) return "0 s";
  const [unit, size] = UNITS[first];
  const whole = Math.floor(left / size);
  const [nextUnit, nextSize] = UNITS[first + 1] ?? ["", Infinity];
  const rest = Math.floor((left - whole * size) / nextSize);
  return rest && whole < 10 ? `${whole} ${unit} ${rest} ${nextUnit}` : `${whole} ${unit}`;
}

/** Milliseconds as a duration of a call: `0.41 ms`, `48 ms`, `1.2 s`. */
export function ms(value) {
  if (value === null || value === undefined) return "–";
  if (value < 10) return `${Number(value.toPrecision(2))} ms`;
  if (value < 1000) return `${Math.round(value)} ms`;
  return value < 10_000 ? `${Number((value / 1000).toPrecision(2))} s` : age(value);
}

const SIZES = ["B", "kB", "MB", "GB", "TB"];

/** Bytes in powers of 1000, in three digits: `1.05 MB`. */
export function bytes(n) {
  if (n === null || n === undefined) return "–";
  let size = 0;
  let value = n;
  while (value >= 999.5 && size < SIZES.length - 1) {
    value /= 1000;
    size += 1;
  }
  return `${size === 0 || value >= 100 ? Math.round(value) : value.toPrecision(3)} ${SIZES[size]}`;
}

export function percent(value) {
  if (value === null || value === undefined) return "–";
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} %`;
}

const NUMBER = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const CLOCK = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const MINUTE = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const WHOLE = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "long" });
const DAY = new Intl.DateTimeFormat("en", { day: "numeric", month: "short" });

export const number = (value) => (value === null || value === undefined ? "–" : NUMBER.format(value));
export const count = (n, one, many = `${one}s`) => `${number(n)} ${n === 1 ? one : many}`;

const isToday = (date) => date.toDateString() === new Date().toDateString();

/** A time of the day to the second, with the day where that is not today. Takes a Date, milliseconds or ISO text. */
export function time(when) {
  const date = new Date(when);
  return isToday(date) ? CLOCK.format(date) : `${DAY.format(date)} ${CLOCK.format(date)}`;
}

/** The same to the minute. */
export function minute(when) {
  return MINUTE.format(new Date(when));
}

/** For a title: the whole of it. */
export const exactly = (when) => WHOLE.format(new Date(when));
