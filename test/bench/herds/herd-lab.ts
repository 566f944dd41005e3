/** Nodes that pull the same image, and what that costs the registry: the part that `herd` and `rolling` share. */
import { createLab, type Lab } from '../../lab/lab.ts';
import type { LabNode } from '../../lab/node.ts';
import type { PushedImage } from '../../lab/push.ts';
import type { UpstreamStats } from '../../lab/upstream/ledger.ts';
import type { Behaviour } from '../../lab/upstream/proxy.ts';
import { atMost, type BenchLimit, median, rounded } from '../bench.ts';

const MEGABYTE = 1_000_000;

export const IMAGES = {
  '10 MB': [{ bytes: 10 * MEGABYTE }],
  '4x25 MB': Array.from({ length: 4 }, () => ({ bytes: 25 * MEGABYTE })),
  '1x300 MB': [{ bytes: 300 * MEGABYTE }],
  '12x8 MB': Array.from({ length: 12 }, () => ({ bytes: 8 * MEGABYTE })),
} as const;
export type ImageName = keyof typeof IMAGES;

export interface HerdCase {
  readonly nodes: number;
  readonly image: ImageName;
  readonly latencyMs: number;
  readonly auth: 'open' | 'token';
  readonly throttle: NonNullable<Behaviour['throttle']>;
  /** Bytes per second that each node's network card sends. */
  readonly sendRate?: number;
  readonly mirrorArgs?: readonly string[];
}

/** What one image, pulled by all, cost. */
export interface HerdRun {
  /** Bytes of blobs that the registry sent, by the bytes that they have. */
  readonly copies: number;
  readonly blobGetsMax: number;
  readonly manifestGetsMax: number;
  readonly ms: number;
  /** The same image pulled by a node without a mirror, with the registry to itself; undefined where it was not. */
  readonly aloneMs: number | undefined;
}

/** Both generations, as a cluster has them while it is being upgraded. */
const CONTAINERDS = ['2.4', '1.6.20'] as const;
const CREDENTIALS = { username: 'lab', password: 'secret' };

export interface HerdLab {
  /** Pushes a new image, has a node without a mirror pull it if `isAloneToo`, and then all the others as `pullAll` says. */
  run(pullAll: PullAll, isAloneToo: boolean): Promise<HerdRun>;
  readonly lab: Lab;
  down(): Promise<void>;
}

type PullAll = (nodes: readonly Puller[]) => Promise<unknown>;

export interface Puller {
  pull(): Promise<void>;
}

export async function createHerdLab(wanted: HerdCase, signal: AbortSignal): Promise<HerdLab> {
  const wishes = Array.from({ length: wanted.nodes }, (_, index) => ({
    containerd: CONTAINERDS[index % CONTAINERDS.length] as string,
  }));
  const lab = await createLab({ nodes: [...wishes, { containerd: CONTAINERDS[0] }] }, signal);
  try {
    const nodes = lab.nodes.slice(0, -1);
    const alone = lab.nodes.at(-1) as LabNode;
    const members = nodes.map(({ address }) => address).join(',');
    for (const node of nodes) await node.configure([], signal);
    await Promise.all(
      nodes.map((node) => node.startMirror(['--members', members, ...(wanted.mirrorArgs ?? [])], signal)),
    );
    if (wanted.sendRate !== undefined) {
      for (const node of nodes) await node.limitRate({ send: wanted.sendRate }, signal);
    }
    await lab.upstream.delay(wanted.latencyMs);
    await lab.upstream.throttle(wanted.throttle);
    if (wanted.auth === 'token') await lab.upstream.lock('token', CREDENTIALS);
    let count = 0;
    return {
      lab,
      run: async (pullAll, isAloneToo) => {
        count += 1;
        const spec = { seed: `herd ${count}`, layers: IMAGES[wanted.image] };
        const image = await lab.upstream.push(`bench/herd:v${count}`, spec, signal);
        const pull = (node: LabNode) =>
          node.pull(image.reference, wanted.auth === 'token' ? { auth: CREDENTIALS } : {}, signal);
        const aloneMs = isAloneToo ? (await pull(alone)).ms : undefined;
        await lab.upstream.resetStats();
        const startedAt = performance.now();
        await pullAll(nodes.map((node) => ({ pull: async () => void (await pull(node)) })));
        const ms = performance.now() - startedAt;
        const cost = costOf(image, await lab.upstream.stats());
        await Promise.all(lab.nodes.map((node) => node.removeImage(image.reference, signal)));
        return { ...cost, ms, aloneMs };
      },
      down: () => lab.down(),
    };
  } catch (error) {
    await lab.down();
    throw error;
  }
}

function costOf({ manifests }: PushedImage, { byDigest, log }: UpstreamStats): Omit<HerdRun, 'ms' | 'aloneMs'> {
  const blobs = manifests.flatMap(({ config, layers }) => [config, ...layers]);
  const gets = (digest: string) => byDigest[digest]?.gets ?? 0;
  // The body of a refusal, which a node without a token gets first, is no part of a blob.
  const sent = log.filter(({ kind, status }) => kind === 'blob' && (status === 200 || status === 206));
  return {
    copies: sum(sent.map(({ bytes }) => bytes)) / sum(blobs.map(({ size }) => size)),
    blobGetsMax: Math.max(...blobs.map(({ digest }) => gets(digest))),
    manifestGetsMax: Math.max(...manifests.map(({ digest }) => gets(digest))),
  };
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

/** Whether a run cost the registry what one node costs it. */
function isOneCopy({ copies, blobGetsMax, manifestGetsMax }: HerdRun): boolean {
  return copies <= 1 && blobGetsMax <= 1 && manifestGetsMax <= 1;
}

export function titleOf({ nodes, image, latencyMs, auth }: HerdCase): string {
  return `${nodes} nodes, ${image}, ${latencyMs} ms, ${auth}`;
}

export interface HerdRounds {
  readonly rounds: number;
  readonly pullAll: PullAll;
  readonly progress: (line: string) => void;
  readonly title: string;
}

/** The registry's pace bounds a pull alone: that one takes the same time again and again, which is most of a run's. */
const ROUNDS_AN_ALONE = 4;

/** The same case again and again, on one lab. */
export async function runHerd(
  wanted: HerdCase,
  { rounds, pullAll, progress, title }: HerdRounds,
  signal: AbortSignal,
): Promise<HerdRun[]> {
  const herd = await createHerdLab(wanted, signal);
  try {
    const runs: HerdRun[] = [];
    for (let round = 1; round <= rounds; round += 1) {
      const result = await herd.run(pullAll, round % ROUNDS_AN_ALONE === 1);
      runs.push(result);
      const { copies, blobGetsMax, ms, aloneMs } = result;
      progress(
        `${title}: round ${round} of ${rounds}: ${copies.toFixed(2)} copies, ${blobGetsMax} GETs a blob at most, ` +
          `${Math.round(ms)} ms${aloneMs === undefined ? '' : `, ${Math.round(aloneMs)} alone`}`,
      );
    }
    return runs;
  } finally {
    await herd.down();
  }
}

/** What a table tells of the runs of one case. */
export function herdColumns(runs: readonly HerdRun[]) {
  return {
    'one copy': `${runs.filter(isOneCopy).length}/${runs.length}`,
    'copies, most': rounded(Math.max(...runs.map(({ copies }) => copies))),
    'GETs a blob, most': Math.max(...runs.map(({ blobGetsMax }) => blobGetsMax)),
    'GETs a manifest, most': Math.max(...runs.map(({ manifestGetsMax }) => manifestGetsMax)),
    ms: Math.round(median(runs.map(({ ms }) => ms))),
    'alone, ms': Math.round(medianAlone(runs)),
  };
}

/** Milliseconds. */
export function medianAlone(runs: readonly HerdRun[]): number {
  return median(runs.flatMap(({ aloneMs }) => aloneMs ?? []));
}

/** No run of a case takes more than one copy. */
export function atMostOneCopy(title: string, runs: readonly HerdRun[]): BenchLimit {
  return atMost(`${title}: runs with more than one copy`, runs.filter((run) => !isOneCopy(run)).length, 0);
}
