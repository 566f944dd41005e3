/** What every benchmark answers: a table, and the promises that it was measured against. */
export interface BenchResult {
  readonly name: string;
  /** What the numbers are, for the reader of the table: `GB/s`, `ms`. */
  readonly unit: string;
  readonly rows: ReadonlyArray<Readonly<Record<string, string | number>>>;
  readonly limits: readonly BenchLimit[];
}

export interface BenchLimit {
  readonly name: string;
  readonly value: number;
  /** The promise; `name` says whether `value` must be at most or at least this. */
  readonly limit: number;
  readonly ok: boolean;
}

export interface BenchOptions {
  /** Says how far the run is; the table goes elsewhere. */
  readonly progress: (line: string) => void;
  readonly signal: AbortSignal;
  /** How often to repeat what is repeated; undefined: as often as the benchmark itself finds right. Not all listen to it. */
  readonly rounds: number | undefined;
  /** Of many cases the most telling ones only. Not all listen to it. */
  readonly isQuick: boolean;
  /** Cases whose name contains it only. Not all listen to it. */
  readonly only: string | undefined;
}

export type Bench = (options: BenchOptions) => Promise<BenchResult>;

export function atMost(name: string, value: number, limit: number): BenchLimit {
  return { name: `${name} at most`, value: rounded(value), limit, ok: value <= limit };
}

export function atLeast(name: string, value: number, limit: number): BenchLimit {
  return { name: `${name} at least`, value: rounded(value), limit, ok: value >= limit };
}

export function median(values: readonly number[]): number {
  return percentile(values, 50);
}

/** The smallest value that at least `percent` of the values do not exceed (nearest rank). */
export function percentile(values: readonly number[], percent: number): number {
  if (values.length === 0) throw new RangeError('There is no percentile of no values.');
  const sorted = values.toSorted((a, b) => a - b);
  const rank = Math.max(1, Math.ceil((percent / 100) * sorted.length));
  return sorted[rank - 1] as number;
}

/** Three significant digits: more is noise on a shared machine. */
export function rounded(value: number): number {
  return value === 0 ? 0 : Number(value.toPrecision(3));
}
