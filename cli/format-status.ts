import type { RegistryStatus } from '../mirror/status.ts';
import type { MirrorReport } from './read-status.ts';

/** What a node that was broken into says must not reach a terminal as commands. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}]/gu;
const GAP = '  ';
const BYTE_UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];

/** For people: a line a node, a line a registry, and a paragraph for each node that something is wrong with. */
export function formatStatus(reports: readonly MirrorReport[]): string {
  if (reports.length === 0) return 'There are no nodes and no mirrors\n';
  const sections = [table(NODE_COLUMNS, reports.map(nodeRow)), registryTable(reports), troubles(reports)];
  return sections.filter((section) => section !== '').join('\n');
}

const NODE_COLUMNS = ['NODE', 'VERSION', 'CONTAINERD', 'VERDICT', 'READY', 'SEES', 'HOLDS', 'SPARED', 'HITS'];

function nodeRow({ node, status }: MirrorReport): readonly string[] {
  if (status === undefined) return [node, ...NODE_COLUMNS.slice(1).map(() => '-')];
  const { version, verdict, missing, members, held, registries } = status;
  const total = totalOf(registries);
  return [
    node,
    version,
    verdict.containerd?.replace(/^v/, '') ?? '-',
    verdict.result,
    missing.length === 0 ? 'yes' : 'no',
    String(members.length),
    String(held.digests),
    formatBytes(total.sparedBytes),
    hitRate(total),
  ];
}

function registryTable(reports: readonly MirrorReport[]): string {
  const all = reports.flatMap(({ status }) => status?.registries ?? []);
  const names = [...new Set(all.map(({ registry }) => registry))].toSorted();
  const rows = names.map((name) => {
    const total = totalOf(all.filter(({ registry }) => registry === name));
    return [
      name,
      formatBytes(total.sparedBytes),
      String(total.sparedRequests),
      String(total.missedRequests),
      hitRate(total),
    ];
  });
  return rows.length === 0 ? '' : table(['REGISTRY', 'BYTES SPARED', 'REQUESTS SPARED', 'NOBODY HAD', 'HITS'], rows);
}

function troubles(reports: readonly MirrorReport[]): string {
  const lines = reports.flatMap(({ node, status, problem }) => {
    if (status === undefined) return [`${node}: ${problem}`];
    const reasons = status.verdict.reasons.filter(({ weighs }) => weighs !== 'note');
    return [
      ...status.missing.map((what) => `${node}: ${what}`),
      ...reasons.map(({ code, sentence }) => `${node}: ${sentence} (${code})`),
      ...reasons.slice(0, 1).flatMap(({ fix }) => (typeof fix === 'string' ? [`${node}: ${fix}`] : [])),
    ];
  });
  return lines.map((line) => `${printable(line)}\n`).join('');
}

type Figures = Omit<RegistryStatus, 'registry'>;

function totalOf(registries: readonly RegistryStatus[]): Figures {
  const sum = (key: keyof Figures) => registries.reduce((total, registry) => total + registry[key], 0);
  return {
    sparedBytes: sum('sparedBytes'),
    sparedRequests: sum('sparedRequests'),
    missedRequests: sum('missedRequests'),
  };
}

function hitRate({ sparedRequests, missedRequests }: Figures): string {
  const all = sparedRequests + missedRequests;
  return all === 0 ? '-' : `${Math.round((sparedRequests / all) * 100)} %`;
}

/** In powers of ten, as registries' bills are. */
export function formatBytes(bytes: number): string {
  const power = Math.max(0, Math.min(BYTE_UNITS.length - 1, Math.floor(Math.log10(Math.max(bytes, 1)) / 3)));
  const number = bytes / 1000 ** power;
  return `${power === 0 || number >= 100 ? number.toFixed(0) : number.toFixed(1)} ${BYTE_UNITS[power]}`;
}

function table(columns: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = [columns, ...rows].map((row) => row.map(printable));
  const widths = columns.map((_, index) => Math.max(...cells.map((row) => row[index]?.length ?? 0)));
  const lines = cells.map((row) =>
    row
      .map((cell, index) => cell.padEnd(widths[index] ?? 0))
      .join(GAP)
      .trimEnd(),
  );
  return lines.map((line) => `${line}\n`).join('');
}

function printable(text: string): string {
  return text.replace(UNPRINTABLE, ' ');
}
