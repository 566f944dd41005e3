import fs from 'node:fs';
import path from 'node:path';
import { ingestedBytes } from '../integration/ingested-bytes.ts';
import { createLab, type Lab } from '../lab/lab.ts';
import { until } from '../lab/namespace.ts';
import type { LabNode } from '../lab/node.ts';
import type { PushedImage } from '../lab/push.ts';
import type { UpstreamRequest } from '../lab/upstream/ledger.ts';
import type { Cell, Fault, Measured, Outcome, Row } from './fault.ts';
import { type FaultyPeer, honestly, startFaultyPeer } from './faulty-peer.ts';
import { readImage } from './peer-content.ts';
import { largeLayer, layersOf } from './scene.ts';

/** What `concurrent_layer_fetch_buffer` makes of a layer: several requests at once. */
export const inChunks = (configToml: string) => `${configToml}
[plugins."io.containerd.transfer.v1.local"]
  max_concurrent_downloads = 4
  concurrent_layer_fetch_buffer = ${1024 * 1024}
`;

/** The node that is the source, and the columns of the matrix. */
const OTHER = { containerd: '2.4' };
export const COLUMNS = [
  { title: '1.6.20', node: { containerd: '1.6.20' } },
  { title: '2.4', node: { containerd: '2.4' } },
  { title: '2.4 in chunks', node: { containerd: '2.4', configToml: inChunks } },
];

/** One layer that is passed on as it comes, and one that is verified before any of it is. */
const LAYERS = [{ bytes: 6_000_000 }, { bytes: 300_000, gzip: true }];
const UPSTREAM_BYTES_PER_SECOND = 8_000_000;
const UPSTREAM_DELAY_MS = 10;
const BASELINES = 3;

/** The lab's registry under a name that no mirror is configured for. */
const PLAIN_HOST = 'plain.lab:5000';

/** By how much a pull outlasts what is allowed that never ends. */
const HANG_MS = 6_000;
/** A pull without a mirror that is to never end is given this time to prove it. */
const PLAIN_HANG_MS = 3_000;

const AN_HOUR_AHEAD = `--import=data:text/javascript,${encodeURIComponent(`
  const RealDate = Date;
  const HOUR_MS = 3_600_000;
  globalThis.Date = class extends RealDate {
    constructor(...given) {
      if (given.length === 0) super(RealDate.now() + HOUR_MS);
      else super(...given);
    }
    static now() {
      return RealDate.now() + HOUR_MS;
    }
  };`)}`;

/** Mirrors remember for minutes who failed them, by address: the source has a new one in each row. */
const PORTS_FROM = 20_000;

export interface Stage {
  run(fault: Fault, signal: AbortSignal): Promise<readonly Measured[]>;
  down(): Promise<void>;
}

/** One lab for all rows: the source and a node for each column, whose mirrors run throughout. */
export async function createStage(random: () => number, signal: AbortSignal): Promise<Stage> {
  const lab = await createLab({ nodes: [OTHER, ...COLUMNS.map(({ node }) => node)] }, signal);
  try {
    const [other, ...nodes] = lab.nodes as readonly [LabNode, ...LabNode[]];
    for (const node of lab.nodes) await node.configure([], signal);
    for (const node of nodes) configurePlain(node);
    await Promise.all(nodes.map((node) => node.startMirror([], signal)));
    await normalUpstream(lab);
    const stage = { lab, other, nodes, random };
    const normal = await measureNormal(stage, signal);
    let count = 0;
    return {
      run: (fault, rowSignal) => runRow({ ...stage, normal, number: count++ }, fault, rowSignal),
      down: () => lab.down(),
    };
  } catch (error) {
    await lab.down();
    throw error;
  }
}

interface StageParts {
  readonly lab: Lab;
  readonly other: LabNode;
  readonly nodes: readonly LabNode[];
  readonly random: () => number;
}

interface RowParts extends StageParts {
  /** The pulls without a mirror from a registry that behaves, by column. */
  readonly normal: readonly Pull[];
  readonly number: number;
}

interface Pull {
  readonly outcome: Outcome;
  readonly ms: number;
  readonly error?: string;
}

async function normalUpstream({ upstream }: Lab): Promise<void> {
  await upstream.break(undefined);
  await upstream.delay(UPSTREAM_DELAY_MS);
  await upstream.throttle({ perConnection: UPSTREAM_BYTES_PER_SECOND });
}

function configurePlain(node: LabNode): void {
  const folder = path.join(node.folder, 'etc-containerd/certs.d', PLAIN_HOST);
  fs.mkdirSync(folder, { recursive: true });
  const host = '[host."http://upstream.lab:5000"]\n  capabilities = ["pull", "resolve"]\n';
  fs.writeFileSync(path.join(folder, 'hosts.toml'), `server = "http://upstream.lab:5000"\n\n${host}`);
}

/** Images of their own for each node, so that no column meets another's bytes. */
function pushImages({ lab, nodes }: StageParts, name: string): Promise<PushedImage[]> {
  return Promise.all(
    nodes.map((_, column) => lab.upstream.push(`${name}-${column}:v1`, { seed: `${name}-${column}`, layers: LAYERS })),
  );
}

async function pullPlain(
  stage: StageParts,
  { name, fault, hangMs }: { readonly name: string; readonly fault?: Fault; readonly hangMs: number },
  signal: AbortSignal,
): Promise<Pull[]> {
  const images = await pushImages(stage, name);
  const pulls = stage.nodes.map((node, column) => pull(node, `${PLAIN_HOST}/${name}-${column}:v1`, hangMs, signal));
  if (fault?.happensWithout) await fault.during?.(createRow(stage, images, signal));
  return Promise.all(pulls);
}

function createRow(
  { lab, other, nodes, random }: StageParts,
  images: readonly PushedImage[],
  signal: AbortSignal,
): Row {
  const cells = nodes.map(
    (node, column): Cell => ({ column: COLUMNS[column]?.title ?? '', node, image: images[column] as PushedImage }),
  );
  return { lab, other, cells, random, signal, leading: new AbortController() };
}

async function measureNormal(stage: StageParts, signal: AbortSignal): Promise<Pull[]> {
  const runs: Pull[][] = [];
  for (let index = 0; index < BASELINES; index++)
    runs.push(await pullPlain(stage, { name: `plain/${index}`, hangMs: 60_000 }, signal));
  return stage.nodes.map((_, column) => median(runs.map((run) => run[column] as Pull)));
}

function median(pulls: readonly Pull[]): Pull {
  return pulls.toSorted((one, other) => one.ms - other.ms)[Math.floor(pulls.length / 2)] as Pull;
}

/** A pull that takes longer than `hangMs` is one that never ends, as far as anybody would wait. */
async function pull(node: LabNode, reference: string, hangMs: number, signal: AbortSignal): Promise<Pull> {
  const startedAt = performance.now();
  const late = AbortSignal.timeout(Math.round(hangMs));
  const ms = () => performance.now() - startedAt;
  try {
    await node.pull(reference, {}, AbortSignal.any([signal, late]));
    return { outcome: 'pulled', ms: ms() };
  } catch (error) {
    signal.throwIfAborted();
    return { outcome: late.aborted ? 'hangs' : 'fails', ms: ms(), error: String(error) };
  }
}

async function runRow(parts: RowParts, fault: Fault, signal: AbortSignal): Promise<readonly Measured[]> {
  const { lab, number } = parts;
  const name = `fault/${number}-${fault.name}`;
  const row = createRow(parts, await pushImages(parts, name), signal);
  const source = await prepareSource(row, fault, PORTS_FROM + number);
  try {
    await fault.upstream?.(lab.upstream);
    const plain = await plainPulls(parts, fault, `${name}/plain`, signal);
    if (fault.source === 'leader') await lead(row);
    await fault.before?.(row);
    const pulls = row.cells.map(({ node, image }, column) =>
      pull(
        node,
        image.reference,
        fault.outcome === 'hangs' ? PLAIN_HANG_MS : (plain[column] as Pull).ms + fault.boundMs + HANG_MS,
        signal,
      ),
    );
    await fault.during?.(row);
    const done = await Promise.all(pulls);
    const { log } = await lab.upstream.stats();
    return await Promise.all(
      row.cells.map(async (cell, column) => {
        const pulled = done[column] as Pull;
        const without = plain[column] as Pull;
        return {
          column: cell.column,
          outcome: await finalOutcome(cell, pulled, fault, signal),
          without: without.outcome,
          extraMs: pulled.ms - without.ms,
          upstreamShare: sum(log.filter(isOf(cell))) / imageBytes(cell.image),
          ...(pulled.error !== undefined && { error: pulled.error }),
        };
      }),
    );
  } finally {
    await fault.after?.(row);
    row.leading.abort();
    await source.stop();
    await normalUpstream(lab);
  }
}

async function plainPulls(parts: RowParts, fault: Fault, name: string, signal: AbortSignal): Promise<readonly Pull[]> {
  if (fault.upstream === undefined && fault.happensWithout === undefined) return parts.normal;
  const hangMs = fault.without === 'hangs' ? PLAIN_HANG_MS : 60_000;
  return pullPlain(parts, { name, fault, hangMs }, signal);
}

/** The source begins to pull, slowly enough for the others to follow. */
async function lead({ other, cells, signal, leading }: Row): Promise<void> {
  for (const { image } of cells) other.pull(image.reference, {}, leading.signal).catch(() => {}); // Leaders are broken.
  const begins = ({ image }: Cell) => ingestedBytes(other, [largeLayer(image)]) > 0;
  await until(
    () => cells.every(begins),
    signal,
    () => `${other.name} does not begin to pull`,
  );
}

/** kubelet tries again; what matters is whether the next pull succeeds. */
async function finalOutcome(cell: Cell, pulled: Pull, fault: Fault, signal: AbortSignal): Promise<Outcome> {
  if (pulled.outcome !== 'fails' || (fault.without === 'fails' && !fault.happensWithout)) return pulled.outcome;
  // containerd goes on with what it has of a failed pull, right or wrong, until it has deleted it. kubelet waits longer.
  if (!fault.happensWithout) await until(() => ingestedBytes(cell.node, layersOf(cell.image)) === 0, signal);
  const again = await pull(cell.node, cell.image.reference, fault.boundMs + HANG_MS, signal);
  return again.outcome === 'pulled' ? 'fails once' : again.outcome;
}

function isOf({ node, image }: Cell): (request: UpstreamRequest) => boolean {
  return ({ client, path: asked }) => client === node.address && asked.startsWith(`/v2/${image.repository}/`);
}

function imageBytes({ manifests }: PushedImage): number {
  const all = manifests.flatMap((manifest) => [manifest, manifest.config, ...manifest.layers]);
  return all.reduce((bytes, { size }) => bytes + size, 0);
}

function sum(requests: ReadonlyArray<{ readonly bytes: number }>): number {
  return requests.reduce((all, { bytes }) => all + bytes, 0);
}

async function prepareSource(row: Row, fault: Fault, port: number): Promise<Pick<FaultyPeer, 'stop'>> {
  const { lab, other, cells, signal } = row;
  if (fault.source === 'nobody') return { stop: async () => {} };
  if (fault.source === 'peer') {
    const contents = (await Promise.all(cells.map(({ image }) => readImage(lab, image, signal)))).flat();
    const members = cells.map(({ node }) => node.address);
    const answer = fault.answer?.(row) ?? honestly;
    return startFaultyPeer({ host: lab.address, swarmKeyFile: lab.swarmKeyFile, members, contents, answer }, signal);
  }
  const env = fault.isSourceAhead ? { NODE_OPTIONS: AN_HOUR_AHEAD } : {};
  await other.startMirror(['--peer-address', `0.0.0.0:${port}`], signal, env);
  await Promise.all(
    cells.map(({ node }) =>
      until(
        () => knows(node, other, port),
        signal,
        () => `${node.name} has not met ${other.name}`,
      ),
    ),
  );
  if (fault.source === 'node') {
    await lab.upstream.throttle(undefined);
    await Promise.all(cells.map(({ image }) => other.pull(image.reference, {}, signal)));
    await normalUpstream(lab);
    const complain = () => `what ${other.name} pulled is not found`;
    await Promise.all(cells.map((cell) => until(() => isFound(cell), signal, complain)));
  }
  return { stop: () => other.stopMirror('SIGKILL') };
}

/** Whether the node knows the other one's mirror, and no former one of it. */
async function knows(node: LabNode, other: LabNode, port: number): Promise<boolean> {
  const { body } = await node.fetch('http://127.0.0.1:29984/status');
  const { members } = JSON.parse(body) as { readonly members: ReadonlyArray<{ readonly address: string }> };
  const met = members.map(({ address }) => address).filter((address) => address.startsWith(`${other.address}:`));
  return met.length === 1 && met[0] === `${other.address}:${port}`;
}

/** Whether the node's mirror finds the image at another. */
async function isFound({ node, image }: Cell): Promise<boolean> {
  const url = `http://127.0.0.1:29981/v2/${image.repository}/blobs/${largeLayer(image)}?ns=upstream.lab:5000`;
  return (await node.fetch(url, { method: 'HEAD' })).status === 200;
}
