import type { LabNode } from '../lab/node.ts';
import type { PushedImage } from '../lab/push.ts';
import { UPSTREAM_HOST } from '../lab/upstream.ts';

/** Whether its mirror knows who has the first layer. */
export async function canGet(node: LabNode, { repository, manifests }: PushedImage): Promise<boolean> {
  const url = `http://127.0.0.1:29981/v2/${repository}/blobs/${manifests[0]?.layers[0]?.digest}?ns=${UPSTREAM_HOST}`;
  return (await node.fetch(url, { method: 'HEAD' })).status === 200;
}
