/** The apiserver allows 30 s at most. */
const TIMEOUT_MS_MAX = 30_000;
/** What an answer may take besides waiting: to be sent, and to be read. */
const ANSWER_MS = 250;
/** Without a word of the apiserver: it waits 10 s unless the configuration says otherwise. */
const DEFAULT_MS = 2_000;

const UNITS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};
const DURATION = /^(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+$/;

/** How long an answer may be thought about, from `?timeout=`, a duration as Go writes it: `3s`, `1m0s`, `500ms`. */
export function thinkingTimeMs(timeout: unknown): number {
  if (typeof timeout !== 'string' || timeout.length > 32 || !DURATION.test(timeout)) return DEFAULT_MS;
  const parts = [...timeout.matchAll(/(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)/g)];
  const ms = parts.reduce((sum, [, number, unit]) => sum + Number(number) * (UNITS[unit as string] ?? 0), 0);
  return Math.max(0, Math.min(ms, TIMEOUT_MS_MAX) - ANSWER_MS);
}
