import { fixSettings, type Wanted } from './fixes.ts';
import type { Case } from './judge-containerd.ts';
import type { EvidenceItem, Reason } from './verdict.ts';

/** Why settings that stand in the configuration do nothing: they are in a section that this containerd passes over. */
export function findPassedOver(
  { configured, context }: Case,
  about: 'path' | 'layers',
  wanted: Wanted,
): (Omit<Reason, 'weighs' | 'fix'> & { readonly fix: string }) | undefined {
  const found = configured?.merged.passedOver.find((passed) => passed.about === about);
  if (found === undefined) return undefined;
  const { file, line, section, keys, replacedBy } = found;
  const name = keys.join('.');
  const said: EvidenceItem = { source: 'file', file, line, value: `[plugins."${section}"] ${name}` };
  return {
    code: replacedBy === undefined ? 'section-not-read' : 'section-replaced',
    sentence:
      replacedBy === undefined
        ? `this containerd passes over ${name} in the section ${section} of ${file}`
        : `${replacedBy.file} takes the place of the whole section ${section}, and of ${name} that ${file} says in it`,
    evidence: replacedBy === undefined ? [said] : [said, { source: 'file', ...replacedBy }],
    fix: fixSettings(wanted, context),
  };
}
