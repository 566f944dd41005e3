/** The same image pulled by a real containerd through a peer, and straight from a registry on the same machine. */
import type { LayerSpec } from '../../lab/image.ts';
import { createLab } from '../../lab/lab.ts';
import type { LabNode } from '../../lab/node.ts';
import { REGISTRY_HOST, UPSTREAM_HOST } from '../../lab/upstream.ts';
import { median } from '../bench.ts';

/** Of the nodes that pull; another one holds what they pull. */
const CONTAINERDS = ['2.4', '1.6.20'] as const;

export interface PeerPulls {
  /** The full versions of those who pull. */
  readonly containerds: readonly string[];
  /** Pushes an image, `repository:tag`, and has the holder pull it. */
  push(image: string, layers: readonly LayerSpec[]): Promise<void>;
  /** Pulls both ways by turns. Throws when a pull through the peer took blobs from the registry. */
  measure(image: string, containerd: string, rounds: number): Promise<PeerPullMedians>;
  down(): Promise<void>;
}

/** Milliseconds. */
export interface PeerPullMedians {
  /** From the registry itself, without the lab's proxy in front of it: nothing slows it. */
  readonly direct: number;
  readonly peer: number;
}

export async function createPeerPulls(signal: AbortSignal): Promise<PeerPulls> {
  const lab = await createLab({ nodes: ['2.4', ...CONTAINERDS].map((containerd) => ({ containerd })) }, signal);
  try {
    const [holder, ...pullers] = lab.nodes as [LabNode, ...LabNode[]];
    for (const node of lab.nodes) await node.configure([], signal);
    await Promise.all(lab.nodes.map((node) => node.startMirror([], signal)));
    return {
      containerds: pullers.map(({ containerdVersion }) => containerdVersion),
      push: async (image, layers) => {
        await lab.upstream.push(image, { seed: image, layers }, signal);
        await holder.pull(throughPeer(image), {}, signal);
      },
      measure: async (image, containerd, rounds) => {
        const puller = pullers.find(({ containerdVersion }) => containerdVersion === containerd) as LabNode;
        await lab.upstream.resetStats();
        const medians = await contest(puller, image, rounds, signal);
        const { blobGets } = await lab.upstream.stats();
        if (blobGets > 0) throw new Error(`${blobGets} blobs came from upstream, not from the peer`);
        return medians;
      },
      down: () => lab.down(),
    };
  } catch (error) {
    await lab.down();
    throw error;
  }
}

function throughPeer(image: string): string {
  return `${UPSTREAM_HOST}/${image}`;
}

async function contest(puller: LabNode, image: string, rounds: number, signal: AbortSignal): Promise<PeerPullMedians> {
  const direct = { reference: `${REGISTRY_HOST}/${image}`, samples: [] as number[] };
  const peer = { reference: throughPeer(image), samples: [] as number[] };
  for (let round = 0; round <= rounds; round += 1) {
    for (const { reference, samples } of [direct, peer]) {
      const { ms } = await puller.pull(reference, {}, signal);
      // With the image goes its content: the next pull starts from nothing.
      await puller.removeImage(reference, signal);
      if (round > 0) samples.push(ms); // The first round only warms up.
    }
  }
  return { direct: median(direct.samples), peer: median(peer.samples) };
}
