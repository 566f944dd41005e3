import http from 'node:http';
import { parseDigest } from '../common/oci/digest.ts';
import { MANIFEST_BYTES_MAX } from '../common/oci/media-types.ts';
import type { ImageReference } from '../common/oci/reference.ts';

export interface FoundPart {
  readonly kind: 'index' | 'manifest' | 'config' | 'layer';
  /** Of a tag that nobody has: the tag. */
  readonly digest: string;
  /** 0 where nobody tells. */
  readonly bytes: number;
  /** `private`: the mirror tells it only to who has a pull secret. */
  readonly source: 'local' | 'peer' | 'registry' | 'private';
  /** The address of the peer that has it; manifests are kept in memory, and nobody remembers whose they were. */
  readonly peer?: string;
}

export interface Speed {
  readonly bytes: number;
  readonly seconds: number;
  readonly peer?: string;
}

export interface ImageFinding {
  /** Manifests first. Without a manifest nothing is known of what it would name. */
  readonly parts: readonly FoundPart[];
}

interface Descriptor {
  readonly digest: string;
  readonly size?: number;
  readonly platform?: { readonly os?: string; readonly architecture?: string };
}

interface Manifest {
  readonly manifests?: readonly Descriptor[];
  readonly config?: Descriptor;
  readonly layers?: readonly Descriptor[];
}

/** A mirror asks several peers, one after the other. */
const ANSWER_TIMEOUT_MS = 30_000;
/** Long enough to tell a speed, and short enough to not get in the way of pulls. */
const MEASURED_BYTES_MAX = 64 * 1024 * 1024;
/** Images have at most 127 layers. */
const PARTS_MAX = 256;
const ACCEPT = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
  'application/vnd.docker.distribution.manifest.v2+json',
].join(', ');

/** Rejects when the mirror does not answer. */
export async function findImage(
  mirror: string,
  { registry, repository, tag, digest }: ImageReference,
  signal: AbortSignal,
): Promise<ImageFinding> {
  const parts: FoundPart[] = [];
  let next: Descriptor | undefined = { digest: digest ?? tag ?? 'latest' };
  while (next !== undefined && parts.length < 2) {
    const url = `${mirror}/v2/${repository}/manifests/${next.digest}?ns=${registry}`;
    let answer: http.IncomingMessage = await ask(url, { headers: { accept: ACCEPT } }, signal);
    // The first tag of a registry that was never seen is the registry's own to tell; the next one the mirrors'.
    let text = await readText(answer);
    if (!isFound(answer)) {
      answer = await ask(url, { headers: { accept: ACCEPT } }, signal);
      text = await readText(answer);
    }
    if (!isFound(answer)) {
      const missing = {
        kind: 'manifest',
        digest: next.digest,
        bytes: next.size ?? 0,
        source: sourceOf(answer),
      } as const;
      return { parts: [...parts, missing] };
    }
    const manifest = parseManifest(text);
    const kind = manifest.manifests === undefined ? 'manifest' : 'index';
    const name = String(answer.headers['docker-content-digest'] ?? next.digest);
    parts.push({ kind, digest: name, bytes: Buffer.byteLength(text), source: sourceOf(answer) });
    next = manifest.manifests?.find(isForThisNode);
    const blobs = [
      ...(manifest.config === undefined ? [] : [{ ...manifest.config, kind: 'config' as const }]),
      ...(manifest.layers ?? []).map((layer) => ({ ...layer, kind: 'layer' as const })),
    ];
    for (const blob of blobs.slice(0, PARTS_MAX)) {
      const head = await ask(blobUrl(mirror, { registry, repository }, blob.digest), { method: 'HEAD' }, signal);
      head.resume();
      parts.push({ kind: blob.kind, digest: blob.digest, bytes: blob.size ?? 0, ...whereabouts(head) });
    }
  }
  return { parts };
}

/** Fetches the beginning of a part and throws it away. Undefined when it cannot be fetched after all. */
export async function measure(
  mirror: string,
  image: Pick<ImageReference, 'registry' | 'repository'>,
  { digest }: FoundPart,
  signal: AbortSignal,
): Promise<Speed | undefined> {
  const startedAt = performance.now();
  const headers = { range: `bytes=0-${MEASURED_BYTES_MAX - 1}` };
  let bytes = 0;
  let where: Whereabouts;
  try {
    const answer = await ask(blobUrl(mirror, image, digest), { headers }, signal);
    if (!isFound(answer)) return undefined;
    where = whereabouts(answer);
    for await (const chunk of answer) bytes += (chunk as Buffer).length;
  } catch (error) {
    if (signal.aborted) throw error;
    return undefined;
  }
  const seconds = (performance.now() - startedAt) / 1000;
  return { bytes, seconds, ...(where.peer !== undefined && { peer: where.peer }) };
}

function blobUrl(
  mirror: string,
  { registry, repository }: Pick<ImageReference, 'registry' | 'repository'>,
  digest: string,
) {
  return `${mirror}/v2/${repository}/blobs/${digest}?ns=${registry}`;
}

/** Not by fetch, which adds a browser's headers: the mirror refuses those. */
async function ask(
  url: string,
  { method = 'GET', headers = {} }: http.RequestOptions,
  signal: AbortSignal,
): Promise<http.IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<http.IncomingMessage>();
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(ANSWER_TIMEOUT_MS)]);
  http.request(url, { method, headers, signal: deadline }, resolve).on('error', reject).end();
  return promise;
}

async function readText(answer: http.IncomingMessage): Promise<string> {
  return (await answer.toArray()).join('');
}

function isFound({ statusCode = 0 }: http.IncomingMessage): boolean {
  return statusCode === 200 || statusCode === 206;
}

type Whereabouts = Pick<FoundPart, 'source' | 'peer'>;

function whereabouts(answer: http.IncomingMessage): Whereabouts {
  const peer = answer.headers['miroir-peer'];
  return { source: sourceOf(answer), ...(typeof peer === 'string' && { peer }) };
}

function sourceOf(answer: http.IncomingMessage): FoundPart['source'] {
  if (answer.statusCode === 401) return 'private';
  if (!isFound(answer)) return 'registry';
  return answer.headers['miroir-source'] === 'local' ? 'local' : 'peer';
}

/** Whoever pushed the image wrote it: digests and sizes that are none are left out. */
function parseManifest(text: string): Manifest {
  if (text.length > MANIFEST_BYTES_MAX) return {};
  let manifest: Manifest | null;
  try {
    manifest = JSON.parse(text) as Manifest | null;
  } catch {
    return {};
  }
  const { manifests, config, layers } = manifest ?? {};
  return {
    ...(Array.isArray(manifests) && { manifests: manifests.filter(isDescriptor) }),
    ...(isDescriptor(config) && { config }),
    ...(Array.isArray(layers) && { layers: layers.filter(isDescriptor) }),
  };
}

function isDescriptor(value: unknown): value is Descriptor {
  const { digest, size } = (value ?? {}) as Partial<Descriptor>;
  return typeof digest === 'string' && parseDigest(digest) !== undefined && Number.isSafeInteger(size);
}

function isForThisNode({ platform }: Descriptor): boolean {
  const architecture = process.arch === 'x64' ? 'amd64' : process.arch;
  return platform?.os === 'linux' && platform.architecture === architecture;
}
