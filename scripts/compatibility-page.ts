import { judgeContainerd } from '../containerd/verdict/judge-containerd.ts';
import type { Reason } from '../containerd/verdict/verdict.ts';
import { type ContainerdFixture, evidenceOf, loadContainerdFixtures } from '../test/containerd-fixtures.ts';

const INTRODUCTION = `# Compatibility

<!-- Made by \`npm run docs\` from test/fixtures/containerd; a test compares them. -->

What \`miroir check\` says of containerd as distributions set it up, judged by their files alone. A node of yours may be set up in
another way: run \`miroir check\` on it, which tries it out too. [Check a node](guides/check-a-node.md) has more on each reason.

| Node | containerd | As it comes | Why | Mended |
|---|---|---|---|---|
`;

/** The text of docs/compatibility.md. */
export async function compatibilityPage(): Promise<string> {
  const fixtures = await loadContainerdFixtures();
  const rows = await Promise.all(fixtures.map(describeRow));
  const sections = await Promise.all(fixtures.map(describeFixture));
  return `${INTRODUCTION}${rows.join('')}\n${sections.join('\n')}`;
}

async function describeRow(fixture: ContainerdFixture): Promise<string> {
  const shipped = judgeContainerd(await evidenceOf(fixture, 'shipped'));
  const fixed = fixture.fixed === undefined ? '' : judgeContainerd(await evidenceOf(fixture, 'fixed')).result;
  const why = shipped.reasons.map(({ code }) => `\`${code}\``).join(', ');
  const cells = [`[${fixture.title}](#${anchorOf(fixture.title)})`, fixture.version, shipped.result, why, fixed];
  return `| ${cells.join(' | ')} |\n`;
}

async function describeFixture(fixture: ContainerdFixture): Promise<string> {
  const { reasons } = judgeContainerd(await evidenceOf(fixture, 'shipped'));
  const source = `Source: ${fixture.source}.\n`;
  const body = reasons.length === 0 ? ['Nothing to do.\n'] : reasons.map((reason) => describeReason(reason, fixture));
  return [`## ${fixture.title}\n`, ...body, source].join('\n');
}

function describeReason({ code, sentence, evidence, fix }: Reason, { remedy }: ContainerdFixture): string {
  const seen = evidence.map(({ file, line, value }) => {
    const place =
      file === undefined ? "this version's default" : `\`${file}\`${line === undefined ? '' : `, line ${line}`}`;
    return value === undefined ? place : `${place}: \`${value}\``;
  });
  const steps = remedy ?? fix;
  const fixLines = steps === undefined ? [] : paragraphs(`Fix: ${steps}`);
  return [`\`${code}\`: ${sentence}.`, ...seen.map((item) => `Seen: ${item}.`), ...fixLines].join('\n\n').concat('\n');
}

/** Lines that begin with blanks are configuration, and stand in a fence together. */
function paragraphs(text: string): readonly string[] {
  const groups: { readonly isCode: boolean; readonly lines: string[] }[] = [];
  for (const line of text.split('\n')) {
    const isCode = line.startsWith('  ');
    const last = groups.at(-1);
    if (last?.isCode === isCode) last.lines.push(line);
    else groups.push({ isCode, lines: [line] });
  }
  return groups.map(({ isCode, lines }) => (isCode ? ['```', ...lines, '```'] : lines).join('\n'));
}

/** As documents are linked to on the common forges: lower case, blanks to hyphens, other signs left out. */
function anchorOf(title: string): string {
  return title
    .toLowerCase()
    .replaceAll(/[^a-z0-9 _-]/g, '')
    .replaceAll(' ', '-');
}
