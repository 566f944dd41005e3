import assert from 'node:assert/strict';
import { type Output, until } from '../lab/namespace.ts';
import { COMMANDS, type Place, type Run } from './commands.ts';

const SOON_MS = 30_000;

export interface PlaceOptions {
  /** Runs a line of bash; rejects when it fails. */
  readonly bash: (script: string) => Promise<Pick<Output, 'stdout'>>;
  /** Starts one that stays, once the one before it has ended; resolves when what comes next can rely on it. */
  readonly start?: (script: string) => Promise<void>;
  /** What stands for something of the reader's in all commands of the place, and what the test has in its place. */
  readonly with?: Readonly<Record<string, string>>;
}

/** Each command of a place with what runs it, in order. */
export function documentedAt(
  place: Place,
  options: PlaceOptions,
): readonly { readonly command: string; readonly run: () => Promise<void> }[] {
  const entries = Object.entries(COMMANDS).filter((entry): entry is [string, Run] => entry[1].place === place);
  assert.ok(entries.length > 0, `nothing is documented for ${place}`);
  return entries.map(([command, documented]) => ({ command, run: () => runDocumented(command, documented, options) }));
}

async function runDocumented(command: string, documented: Run, options: PlaceOptions): Promise<void> {
  const fill = (text: string) =>
    Object.entries(options.with ?? {}).reduce((filled, [word, value]) => filled.replaceAll(word, value), text);
  const own = Object.entries(documented.with ?? {}).reduce(
    (filled, [word, value]) => filled.replaceAll(word, value),
    command,
  );
  const script = fill(own + (documented.and ?? ''));
  if (documented.before !== undefined) await options.bash(fill(documented.before));
  if (documented.stays) {
    assert.ok(options.start);
    await options.start(script);
    return;
  }
  const says = documented.says ?? /^/;
  let { stdout } = await options.bash(script);
  const isSaid = async () => {
    if (!says.test(stdout)) ({ stdout } = await options.bash(script));
    return says.test(stdout);
  };
  if (documented.soon) await until(isSaid, AbortSignal.timeout(SOON_MS), () => stdout);
  assert.match(stdout, says);
}
