import { MiroirError } from '../errors.ts';

/** One thing that is wrong with what a person configured. */
export interface Mistake {
  /** What it is about: a setting's name, or what stands in the place of one. */
  readonly name: string;
  /** Where it was said: `--zone`, `MIROIR_ZONE`, `/etc/miroir.yaml:3`, or `not set`. */
  readonly source: string;
  readonly wrong: string;
  readonly fix: string;
}

/** All mistakes in one error, a line each, for a person to mend in one go. */
export function configInvalid(mistakes: readonly Mistake[]): MiroirError {
  const count = mistakes.length === 1 ? 'One setting needs' : `${mistakes.length} settings need`;
  const lines = mistakes.map(({ name, source, wrong, fix }) => `  ${name} (${source}): ${wrong}; ${fix}`);
  return new MiroirError('ERR_CONFIG_INVALID', [`${count} a change:`, ...lines].join('\n'));
}
