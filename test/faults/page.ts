import { CATALOGUE, type FaultGroup } from './catalogue.ts';
import type { Fault, Measured } from './fault.ts';
import type { Matrix } from './matrix.ts';
import { COLUMNS } from './stage.ts';

const INTRODUCTION = `# Faults

<!-- Made by \`npm run faults -- --write\`, which does all of this to real containerds; a test does it again and compares. -->

What happens to a pull when something goes wrong. Three nodes pull an image of 6.3 MB each, from a registry that takes 10 ms to answer and
sends 8 MB/s on a connection: one with containerd 1.6.20, one with 2.4, and one with 2.4 that fetches a layer in several parts at once
(\`concurrent_layer_fetch_buffer\`). In each cell: what the pull came to; how much longer it took than the same pull without a mirror; how much
of the image came from the registry. A pull that comes from a peer is faster than one without a mirror, so many of these times are below zero.
The times are of one run on two cores that had much else to do; what is promised is the outcome and the bound.

**pulled**: as if nothing had happened. **fails once**: the pull fails, and the next one succeeds, which kubelet makes by itself. **fails**,
**hangs**: the pull comes to nothing, as it does without a mirror, of which each such row tells.

Of parts fetched at once, containerd takes a little more than there is: a share may be above 100 %.
`;

/** The text of docs/faults.md; without a matrix what it promises, with nothing measured. */
export function faultsPage(matrix?: Matrix): string {
  return `${INTRODUCTION}${CATALOGUE.map((group) => section(group, matrix)).join('')}`;
}

/** Takes out of a page what differs from run to run. */
export function withoutFigures(page: string): string {
  return page.replaceAll(/ [-+]\d+\.\d s,| \d+ %(?= \|)/g, '').replaceAll(/ s, \d+ %/g, '');
}

function section({ title, text, faults }: FaultGroup, matrix: Matrix | undefined): string {
  const columns = COLUMNS.map((column) => column.title);
  const head = `| What goes wrong | Bound | Because of | ${columns.join(' | ')} |\n|---|---|---|${columns.map(() => '---|').join('')}\n`;
  return `\n## ${title}\n\n${text} ...\n\n${head}${faults.map((fault) => line(fault, matrix?.get(fault))).join('')}`;
}

function line(fault: Fault, cells: readonly Measured[] | undefined): string {
  const bound =
    fault.outcome === undefined || fault.outcome === 'pulled' ? `${(fault.boundMs / 1000).toFixed(1)} s` : '';
  const told = COLUMNS.map((_, index) => describeCell(fault, cells?.[index]));
  return `| ${[fault.title, bound, fault.why, ...told].join(' | ')} |\n`;
}

function describeCell(fault: Fault, cell: Measured | undefined): string {
  const outcome = cell?.outcome ?? fault.outcome ?? 'pulled';
  const without = cell?.without ?? fault.without ?? 'pulled';
  const other = without === outcome || (without === 'fails' && outcome === 'fails once');
  const words =
    without === 'pulled'
      ? `**${outcome}**`
      : other
        ? `**${outcome}** (so it does without)`
        : `**${outcome}** (${without} without)`;
  if (cell === undefined) return words;
  const extra = outcome === 'pulled' && without === 'pulled' ? ` ${signed(cell.extraMs / 1000)} s,` : '';
  return `${words}${extra} ${Math.round(cell.upstreamShare * 100)} %`;
}

function signed(seconds: number): string {
  const text = seconds.toFixed(1);
  return text === '-0.0' ? '+0.0' : seconds < 0 ? text : `+${text}`;
}
