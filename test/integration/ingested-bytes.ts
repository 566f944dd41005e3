import fs from 'node:fs';
import path from 'node:path';
import type { LabNode } from '../lab/node.ts';

/** The node's content store, in its folder. */
export const CONTENT = 'var-lib-containerd/io.containerd.content.v1.content';

/** How much the node's containerd has of the content that it is receiving: of the largest, if of several. */
export function ingestedBytes(node: LabNode, digests?: readonly string[]): number {
  const folder = path.join(node.folder, CONTENT, 'ingest');
  const entries = fs.existsSync(folder) ? fs.readdirSync(folder) : []; // Before the first pull there is none.
  const sizes = entries
    .filter((entry) => isOneOf(path.join(folder, entry), digests))
    .map((entry) => {
      return fs.statSync(path.join(folder, entry, 'data'), { throwIfNoEntry: false })?.size ?? 0;
    });
  return Math.max(0, ...sizes);
}

/** What was being received when containerd was killed stays in its folder. */
function isOneOf(entry: string, digests: readonly string[] | undefined): boolean {
  if (digests === undefined) return true;
  try {
    const ref = fs.readFileSync(path.join(entry, 'ref'), 'utf8');
    return digests.some((digest) => ref.endsWith(digest));
  } catch {
    return false; // It has just ended.
  }
}
