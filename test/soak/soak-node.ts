import fs from 'node:fs';
import type { Fault, Row } from '../faults/fault.ts';
import { startFaultyPeer } from '../faults/faulty-peer.ts';
import { MIRROR_FAULTS } from '../faults/mirror-faults.ts';
import { readImage } from '../faults/peer-content.ts';
import { PEER_FAULTS } from '../faults/peer-faults.ts';
import type { Lab } from '../lab/lab.ts';
import type { LabNode } from '../lab/node.ts';
import type { PushedImage } from '../lab/push.ts';

/** A pull that takes longer has failed: much more than all that may hold one up. */
const PULL_MS_MAX = 60_000;
/**
 * As the launcher of `dist/` does. Without it V8 takes 40 to 71 MB for the same 31 MB in use, and gives some back now and then: a mirror
 * that was at 233 to 242 MB for twenty minutes had been at 203 for some seconds before.
 */
export const LIKE_BUILT = { NODE_OPTIONS: '--max-semi-space-size=4' };
/** What a node keeps at most, so that pulls are not of what is there already. */
const IMAGES_KEPT_MAX = 8;

export interface SoakNodeDeps {
  readonly lab: Lab;
  readonly node: LabNode;
  readonly images: readonly PushedImage[];
  readonly random: () => number;
  /** Told of each thing that was done, with how long it took, and what went wrong. */
  readonly did: (what: string, ms: number, error?: unknown) => void;
}

export interface SoakNodeOptions {
  /** Its mirror runs from the start to the end, so that what it takes can be followed. */
  readonly isWitness: boolean;
}

/** Faults that a pull is to survive. */
const survived = ({ outcome = 'pulled', source, during }: Fault) =>
  outcome === 'pulled' && source === 'peer' && !during;

/** Pulls, removes, restarts and suffers, by chance, until the signal aborts. */
export async function runSoakNode(
  deps: SoakNodeDeps,
  { isWitness }: SoakNodeOptions,
  signal: AbortSignal,
): Promise<void> {
  const { lab, node, images, random, did } = deps;
  const faults = [...PEER_FAULTS, ...(isWitness ? [] : MIRROR_FAULTS)].filter(survived);
  const held = new Set<PushedImage>();
  const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)] as T;

  const timed = async (what: string, act: () => Promise<unknown>) => {
    const startedAt = performance.now();
    try {
      await act();
      did(what, performance.now() - startedAt);
    } catch (error) {
      if (!signal.aborted) did(what, performance.now() - startedAt, error);
    }
  };

  const pull = async (image: PushedImage, what: string) => {
    await timed(what, () =>
      node.pull(image.reference, {}, AbortSignal.any([signal, AbortSignal.timeout(PULL_MS_MAX)])),
    );
    held.add(image);
  };

  const remove = async () => {
    const image = pick([...held]);
    held.delete(image);
    await timed('remove', () => node.removeImage(image.reference, signal));
  };

  /** A peer that has the image, and a fault, and perhaps others that have it and none. */
  const suffer = async (image: PushedImage, fault: Fault) => {
    const row: Row = {
      lab,
      other: node,
      cells: [{ column: '', node, image }],
      random,
      signal,
      leading: new AbortController(),
    };
    const contents = await readImage(lab, image, signal);
    const answer = fault.answer?.(row);
    if (answer === undefined) return;
    const options = { host: lab.address, swarmKeyFile: lab.swarmKeyFile, members: [node.address], contents, answer };
    const peer = await startFaultyPeer(options, signal);
    try {
      await fault.before?.(row);
      await pull(image, `pull with ${fault.name}`);
      await fault.after?.(row);
    } finally {
      await peer.stop();
    }
  };

  const restart = async () => {
    if (random() < 0.3)
      return timed('restart containerd', () => node.restartContainerd(random() < 0.5 ? 'SIGTERM' : 'SIGKILL'));
    if (isWitness) return;
    await timed('restart mirror', async () => {
      await node.stopMirror(random() < 0.5 ? 'SIGTERM' : 'SIGKILL');
      await node.startMirror([], signal, LIKE_BUILT);
    });
  };

  while (!signal.aborted) {
    const wanted = images.filter((image) => !held.has(image));
    const dice = random();
    if (held.size >= IMAGES_KEPT_MAX || (dice < 0.2 && held.size > 0)) await remove();
    else if (dice < 0.28) await restart();
    else if (dice < 0.5) await suffer(pick(wanted), pick(faults));
    else await pull(pick(wanted), 'pull');
  }
}

export interface Sample {
  readonly node: string;
  readonly pid: number;
  readonly atMs: number;
  readonly residentBytes: number;
  readonly files: number;
}

/** What the node's mirror takes now; undefined while none runs. */
export function sampleMirror(node: LabNode, atMs: number): Sample | undefined {
  const pid = node.mirror()?.pid();
  if (pid === undefined) return undefined;
  try {
    const status = fs.readFileSync(`/proc/${pid}/status`, 'utf8');
    const residentBytes = Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
    return { node: node.name, pid, atMs, residentBytes, files: fs.readdirSync(`/proc/${pid}/fd`).length };
  } catch {
    return undefined; // It ended while we looked.
  }
}
