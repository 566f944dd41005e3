/** What faults of nodes are made of. */
import fs from 'node:fs';
import path from 'node:path';
import { CONTENT, ingestedBytes } from '../integration/ingested-bytes.ts';
import { until } from '../lab/namespace.ts';
import type { LabNode } from '../lab/node.ts';
import type { PushedImage } from '../lab/push.ts';
import { onThe, type Place, pausesAt } from './answers.ts';
import type { Cell, Row } from './fault.ts';
import type { Answer, PeerContent } from './faulty-peer.ts';

export async function each(row: Row, act: (cell: Cell) => unknown): Promise<void> {
  await Promise.all(row.cells.map(act));
}

/** Enough of a layer to be in its middle. */
const SOME_BYTES = 1_000_000;

/** Resolves when each node is, or was, in the middle of its layer. */
export async function midway(row: Row): Promise<void> {
  await each(row, (cell) => midwayOf(row, cell));
}

export async function midwayOf({ signal }: Row, cell: Cell): Promise<void> {
  const late = AbortSignal.any([signal, AbortSignal.timeout(MIDWAY_MS)]);
  // On a busy machine its middle may be over between two looks.
  const isWhole = () => fs.existsSync(blobFile(cell.node, largeLayer(cell.image)));
  const complain = () => `${cell.node.name} does not get its layer`;
  await until(() => received(cell) >= SOME_BYTES || isWhole(), late, complain);
}

const MIDWAY_MS = 20_000;

function received({ node, image }: Cell): number {
  return ingestedBytes(node, [largeLayer(image)]);
}

/** The one that is passed on as it comes. */
export function largeLayer({ manifests }: PushedImage): string {
  return manifests[0]?.layers[0]?.digest ?? '';
}

/** Where the node has it once it is whole. */
export function blobFile({ folder }: LabNode, digest: string): string {
  return path.join(folder, CONTENT, 'blobs', digest.replace(':', '/'));
}

export function layersOf({ manifests }: PushedImage): readonly string[] {
  return manifests.flatMap(({ layers }) => layers.map(({ digest }) => digest));
}

export function signalMirror({ node }: Pick<Cell, 'node'>, signal: NodeJS.Signals): void {
  const pid = node.mirror()?.pid();
  if (pid !== undefined) process.kill(pid, signal);
}

export function startMirrors(row: Row): Promise<void> {
  return each(row, ({ node }) => node.startMirror([], row.signal));
}

/** A peer that stops at a place until something was done to the node that asks; once for each node. */
export function dealsWith(row: Row, kind: PeerContent['kind'], place: Place, act: (cell: Cell) => unknown): Answer {
  const done = new Set<Cell>();
  const answer = pausesAt(place, async ({ client }) => {
    const cell = row.cells.find(({ node }) => node.address === client);
    if (cell === undefined || done.has(cell)) return;
    done.add(cell);
    await act(cell);
  });
  return onThe(kind, answer);
}
