import { fixSettings, type Wanted } from './fixes.ts';
import type { Case } from './judge-containerd.ts';
import type { Reason } from './verdict.ts';

/** Why settings that stand in the configuration do nothing: they are in a section that this containerd passes over. */
export function findPassedOver(
  { configured, context }: Case,
  about: 'path' | 'layers',
  wanted: Wanted,
): (Omit<Reason, 'weighs' | 'fix'> & { readonly fix: string }) | undefined {
  const found = configured?.merged.passedOver.find((passed) => passed.about === about);
  if (found === undefined) return undefined;
  const { file, line, section, keys } = found;
  return {
    code: 'section-not-read',
    sentence: `this containerd passes over ${keys.join('.')} in the section ${section} of ${file}`,
    evidence: [{ source: 'file', file, line, value: `[plugins."${section}"] ${keys.join('.')}` }],
    fix: fixSettings(wanted, context),
  };
}
