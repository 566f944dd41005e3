import type { EvidenceItem, Reason, Verdict, VerdictResult } from '../containerd/verdict/verdict.ts';

/** Wider than the widest weight. */
const LABEL_COLUMN = 14;

/** For people: a line with the result, and a paragraph for each reason. */
export function formatVerdict({ result, containerd, distribution, reasons }: Verdict): string {
  const name = containerd === undefined ? 'containerd' : `containerd ${containerd.replace(/^v/, '')}`;
  const title = `${name}${distribution === undefined ? '' : ` (${distribution})`}: ${HEADLINES[result]}\n`;
  return [title, ...reasons.map(formatReason)].join('\n');
}

const HEADLINES: Readonly<Record<VerdictResult, string>> = {
  compatible: 'compatible',
  incompatible: 'incompatible, the mirror is of no use on this node',
  unknown: 'cannot tell',
};

function formatReason({ code, weighs, sentence, evidence, fix }: Reason): string {
  const rows: ReadonlyArray<readonly [string, string]> = [
    [weighs, `${sentence} (${code})`],
    ...evidence.map((item) => ['seen', formatEvidence(item)] as const),
    ...(fix === undefined ? [] : [['fix', fix] as const]),
  ];
  return rows.map(([label, text]) => `${label.padEnd(LABEL_COLUMN)}${indentRest(text)}\n`).join('');
}

function formatEvidence({ source, file, line, value }: EvidenceItem): string {
  const where = file === undefined ? SOURCES[source] : line === undefined ? file : `${file}:${line}`;
  return value === undefined ? where : `${where}: ${value}`;
}

const SOURCES: Readonly<Record<EvidenceItem['source'], string>> = {
  content: "containerd's content",
  default: "this version's default",
  file: 'a file',
  introspection: 'containerd',
  probe: 'a pull',
  status: 'containerd',
};

function indentRest(text: string): string {
  return text.replaceAll('\n', `\n${' '.repeat(LABEL_COLUMN)}`);
}
