/** `make demo`: one image rolls over three nodes without and with Miroir; then the registry stops and it rolls again. */
import { createLab, type Lab } from '../lab/lab.ts';

const IMAGE = 'team/app';
const LAYERS = Array.from({ length: 4 }, () => ({ bytes: 15_000_000 }));
const UPSTREAM_BYTES_A_SECOND = 20_000_000;
const UPSTREAM_DELAY_MS = 20;
const DEADLINE_MS = 5 * 60_000;

interface Roll {
  readonly title: string;
  readonly secondsByNode: readonly number[];
  readonly upstreamBytes: number;
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** Pulls the image on one node after the other. What upstream sends meanwhile is what the roll costs it. */
async function roll(lab: Lab, title: string, reference: string, nodes: Lab['nodes']): Promise<Roll> {
  say(`\n${title}`);
  await lab.upstream.resetStats();
  const secondsByNode: number[] = [];
  for (const node of nodes) {
    const startedAt = performance.now();
    await node.pull(reference);
    const seconds = (performance.now() - startedAt) / 1000;
    secondsByNode.push(seconds);
    say(`  ${node.name} (containerd ${node.containerdVersion}) pulled in ${seconds.toFixed(1)} s`);
  }
  const { bytes } = await lab.upstream.stats();
  return { title, secondsByNode, upstreamBytes: bytes };
}

/** What the nodes had to get in all; what upstream did not send came from other nodes. */
function tableRow({ title, secondsByNode, upstreamBytes }: Roll, imageBytes: number): readonly string[] {
  const wanted = imageBytes * secondsByNode.length;
  const fromPeers = Math.max(0, wanted - upstreamBytes);
  const megabytes = (bytes: number) => `${Math.round(bytes / 1e6)} MB`;
  return [
    title,
    secondsByNode.map((seconds) => seconds.toFixed(1)).join(' / '),
    megabytes(upstreamBytes),
    megabytes(fromPeers),
    `${Math.round((fromPeers / wanted) * 100)} %`,
  ];
}

function printTable(rows: ReadonlyArray<readonly string[]>): void {
  const widths = (rows[0] as readonly string[]).map((_, column) =>
    Math.max(...rows.map((row) => (row[column] as string).length)),
  );
  say('');
  for (const row of rows) {
    say(
      `  ${row
        .map((cell, column) => cell.padEnd(widths[column] as number))
        .join('   ')
        .trimEnd()}`,
    );
  }
}

const signal = AbortSignal.timeout(DEADLINE_MS);
say('Starting three nodes, each with its own containerd, and a registry that gives 20 MB/s in all ...');
const lab = await createLab(
  {
    nodes: [{ containerd: '1.6.20' }, { containerd: '1.6.20' }, { containerd: '1.6.20' }],
    upstream: { delayMs: UPSTREAM_DELAY_MS, throttle: { total: UPSTREAM_BYTES_A_SECOND } },
  },
  signal,
);
try {
  const push = (tag: string) => lab.upstream.push(`${IMAGE}:${tag}`, { seed: tag, layers: LAYERS });
  const [plain, mirrored] = [await push('v1'), await push('v2')];
  const imageBytes = LAYERS.reduce((sum, { bytes }) => sum + bytes, 0);
  const rolls = [await roll(lab, 'Without Miroir', plain.reference, lab.nodes)];

  say('\nStarting Miroir on every node ...');
  for (const node of lab.nodes) await node.configure();
  await Promise.all(lab.nodes.map((node) => node.startMirror()));
  rolls.push(await roll(lab, 'With Miroir', mirrored.reference, lab.nodes));

  const last = lab.nodes.slice(-1);
  for (const node of last) await node.removeImage(mirrored.reference);
  await lab.upstream.stop();
  rolls.push(await roll(lab, 'Registry stopped, pull by tag', mirrored.reference, last));

  const head = ['', 'seconds, node by node', 'from the registry', 'from other nodes', 'spared'];
  printTable([head, ...rolls.map((done) => tableRow(done, imageBytes))]);
} finally {
  say('\nRemoving the nodes and the registry ...');
  await lab.down();
}
process.exit();
