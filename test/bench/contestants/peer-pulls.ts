/** The same image pulled by a real containerd through a peer, and straight from registries on the same machine. */
import fs from 'node:fs';
import path from 'node:path';
import type { LayerSpec } from '../../lab/image.ts';
import { createLab } from '../../lab/lab.ts';
import type { LabNode } from '../../lab/node.ts';
import { REGISTRY_HOST, TLS_REGISTRY_HOST, UPSTREAM_HOST, UPSTREAM_NAME } from '../../lab/upstream.ts';
import { median } from '../bench.ts';
import { makeCertificate } from './certificate.ts';

/** Of the nodes that pull; another one holds what they pull. */
const CONTAINERDS = ['2.4', '1.6.20'] as const;

/** From the registry itself, without the lab's proxy in front of it, nothing slows a pull. */
const HOSTS = { 'docker-registry': REGISTRY_HOST, 'with TLS': TLS_REGISTRY_HOST, 'through a peer': UPSTREAM_HOST };
export type Way = keyof typeof HOSTS;

export interface PeerPulls {
  /** The full versions of those who pull. */
  readonly containerds: readonly string[];
  /** Pushes an image, `repository:tag`, and has the holder pull it. */
  push(image: string, layers: readonly LayerSpec[]): Promise<void>;
  /** Starts all mirrors anew, and has them talk like this to each other. They encrypt before it is called. */
  encrypt(encryption: 'on' | 'off'): Promise<void>;
  /** Pulls all ways by turns: medians, in milliseconds. Throws when a pull through the peer took layers from the registry. */
  measure<W extends Way>(wish: PullWish<W>): Promise<Readonly<Record<W, number>>>;
  down(): Promise<void>;
}

export interface PullWish<W> {
  readonly image: string;
  readonly containerd: string;
  readonly ways: readonly W[];
  readonly rounds: number;
}

export async function createPeerPulls(signal: AbortSignal): Promise<PeerPulls> {
  const lab = await createLab({ nodes: ['2.4', ...CONTAINERDS].map((containerd) => ({ containerd })) }, signal);
  try {
    const [holder, ...pullers] = lab.nodes as [LabNode, ...LabNode[]];
    await lab.upstream.serveTls(await makeCertificate(lab.folder, UPSTREAM_NAME));
    for (const node of lab.nodes) {
      await node.configure([], signal);
      passProxyBy(node);
      trustTlsRegistry(node);
    }
    const layerBytes = new Map<string, number>();
    const encrypt = async (encryption: 'on' | 'off') => {
      await Promise.all(lab.nodes.map((node) => node.stopMirror()));
      await Promise.all(lab.nodes.map((node) => node.startMirror(['--peer-encryption', encryption], signal)));
    };
    await encrypt('on');
    return {
      containerds: pullers.map(({ containerdVersion }) => containerdVersion),
      push: async (image, layers) => {
        await lab.upstream.push(image, { seed: image, layers }, signal);
        layerBytes.set(
          image,
          layers.reduce((sum, { bytes }) => sum + bytes, 0),
        );
        await holder.pull(`${UPSTREAM_HOST}/${image}`, {}, signal);
      },
      encrypt,
      measure: async (wish) => {
        const puller = pullers.find(({ containerdVersion }) => containerdVersion === wish.containerd) as LabNode;
        const before = await bytesFromPeers(puller);
        const medians = await contest(puller, wish, signal);
        const missing = before + (layerBytes.get(wish.image) ?? 0) * (wish.rounds + 1) - (await bytesFromPeers(puller));
        if (missing > 0) throw new Error(`${missing} bytes of layers did not come from the peer`);
        return medians;
      },
      down: () => lab.down(),
    };
  } catch (error) {
    await lab.down();
    throw error;
  }
}

function hostsFile({ folder }: LabNode, registry: string): string {
  return path.join(folder, 'etc-containerd', 'certs.d', registry, 'hosts.toml');
}

/**
 * Tags are asked for at a registry in all ways: at the same one, for the lab's proxy takes milliseconds of its own. What comes from there
 * is not counted then; the mirror counts what it passes on.
 */
function passProxyBy(node: LabNode): void {
  const file = hostsFile(node, UPSTREAM_HOST);
  const text = fs.readFileSync(file, 'utf8');
  fs.writeFileSync(file, text.replaceAll(`http://${UPSTREAM_HOST}`, `http://${REGISTRY_HOST}`));
}

function trustTlsRegistry(node: LabNode): void {
  const file = hostsFile(node, TLS_REGISTRY_HOST);
  fs.mkdirSync(path.dirname(file), { recursive: true });
  const url = `https://${TLS_REGISTRY_HOST}`;
  const host = `[host."${url}"]\n  capabilities = ["pull", "resolve"]\n  skip_verify = true\n`;
  fs.writeFileSync(file, `server = "${url}"\n\n${host}`);
}

async function bytesFromPeers(node: LabNode): Promise<number> {
  const { body } = await node.fetch('http://127.0.0.1:29984/metrics');
  const counts = body.matchAll(/^miroir_registry_sent_bytes_total\{[^}]*source="peer"[^}]*\} (\d+)$/gm);
  return counts.reduce((sum, [, count]) => sum + Number(count), 0);
}

async function contest<W extends Way>(
  puller: LabNode,
  { image, ways, rounds }: PullWish<W>,
  signal: AbortSignal,
): Promise<Readonly<Record<W, number>>> {
  const samples = new Map(ways.map((way): [W, number[]] => [way, []]));
  for (let round = 0; round <= rounds; round += 1) {
    for (const [way, times] of samples) {
      const reference = `${HOSTS[way]}/${image}`;
      const { ms } = await puller.pull(reference, {}, signal);
      // With the image goes its content: the next pull starts from nothing.
      await puller.removeImage(reference, signal);
      if (round > 0) times.push(ms); // The first round only warms up.
    }
  }
  return Object.fromEntries([...samples].map(([way, times]) => [way, median(times)])) as Record<W, number>;
}
