import { CATALOGUE } from './catalogue.ts';
import type { Fault, Measured } from './fault.ts';
import { COLUMNS, type Stage } from './stage.ts';

/** Rows that mostly wait, and that touch nothing but their own peer, run side by side. */
const SIDE_BY_SIDE = 3;

/** A machine that is busy with something else makes a pull late; it gets a second chance, an outcome does not. */
const TRIES = 2;

export interface MatrixOptions {
  /** Only the faults whose names contain one of these. */
  readonly only?: readonly string[];
  /** Called as rows are done, in any order. */
  readonly onRow?: (fault: Fault, cells: readonly Measured[]) => void;
}

export type Matrix = ReadonlyMap<Fault, readonly Measured[]>;

/** Runs all faults on one stage. */
export async function runMatrix(stage: Stage, options: MatrixOptions, signal: AbortSignal): Promise<Matrix> {
  const wanted = CATALOGUE.flatMap(({ faults }) => faults).filter(
    ({ name }) => options.only === undefined || options.only.some((part) => name.includes(part)),
  );
  const matrix = new Map<Fault, readonly Measured[]>();
  const runOne = async (fault: Fault) => {
    let cells = await runRow(stage, fault, signal);
    for (let tried = 1; tried < TRIES && isOnlyLate(fault, cells); tried++) cells = await runRow(stage, fault, signal);
    matrix.set(fault, cells);
    options.onRow?.(fault, cells);
  };
  const queue = wanted.filter(isByItself);
  const drain = async () => {
    for (let fault = queue.shift(); fault !== undefined; fault = queue.shift()) await runOne(fault);
  };
  await Promise.all(Array.from({ length: SIDE_BY_SIDE }, drain));
  for (const fault of wanted.filter((one) => !isByItself(one))) await runOne(fault);
  return matrix;
}

/** A row that cannot be run is one that is wrong; the others are run all the same. */
async function runRow(stage: Stage, fault: Fault, signal: AbortSignal): Promise<readonly Measured[]> {
  try {
    return await stage.run(fault, signal);
  } catch (error) {
    signal.throwIfAborted();
    const told = error instanceof Error ? (error.stack ?? error.message) : JSON.stringify(error);
    return COLUMNS.map(({ title: column }) => ({
      column,
      outcome: 'not run',
      without: 'not run',
      extraMs: 0,
      upstreamShare: 0,
      error: told,
    }));
  }
}

function isByItself({ source, before, during, after, upstream }: Fault): boolean {
  return source === 'peer' && !before && !during && !after && !upstream;
}

function isOnlyLate(fault: Fault, cells: readonly Measured[]): boolean {
  return cells.some((cell) => isLate(fault, cell)) && cells.every((cell) => isAsExpected(fault, cell));
}

/** Whether the pull came to what the catalogue says, here and without a mirror. */
export function isAsExpected(fault: Fault, { outcome, without }: Measured): boolean {
  return outcome === (fault.outcome ?? 'pulled') && without === (fault.without ?? 'pulled');
}

export function isLate({ boundMs }: Fault, { outcome, without, extraMs }: Measured): boolean {
  return outcome === 'pulled' && without === 'pulled' && extraMs > boundMs;
}
