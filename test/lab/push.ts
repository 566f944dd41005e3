import { createHash, type Hash } from 'node:crypto';
import http from 'node:http';
import { Readable, Transform } from 'node:stream';
import { text } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { compress, hostPlatform, type ImageSpec, type LayerSpec, openBusybox, openLayer } from './image.ts';
import { LabError } from './lab-error.ts';

export interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

export interface PushedManifest extends Descriptor {
  readonly platform: string;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
}

export interface PushedImage {
  /** What a node pulls: `upstream.lab:5000/app:v1`. */
  readonly reference: string;
  /** The same past the proxy: a node that pulls it is neither counted nor slowed. */
  readonly directReference: string;
  readonly repository: string;
  /** What the tag resolves to: the manifest, or the index of several. */
  readonly digest: string;
  readonly manifests: readonly PushedManifest[];
}

const MANIFEST_TYPE = 'application/vnd.oci.image.manifest.v1+json';
const INDEX_TYPE = 'application/vnd.oci.image.index.v1+json';
const CONFIG_TYPE = 'application/vnd.oci.image.config.v1+json';
const LAYER_TYPE = 'application/vnd.oci.image.layer.v1.tar';

/** A registry that takes images without asking who brings them. */
export interface Pusher {
  /** Makes an image and pushes it; `name` is `repository:tag`. */
  push(name: string, spec: ImageSpec, signal: AbortSignal): Promise<Omit<PushedImage, 'reference' | 'directReference'>>;
  /** Makes the tag of `name` say what `digest` of the same repository is. */
  tag(name: string, digest: string, signal: AbortSignal): Promise<void>;
}

export function createPusher(origin: string): Pusher {
  async function pushImage(
    repository: string,
    platform: string,
    spec: ImageSpec,
    signal: AbortSignal,
  ): Promise<PushedManifest> {
    const layers: Descriptor[] = [];
    const diffIds: string[] = [];
    for (const [position, layer] of spec.layers.entries()) {
      const seed = layer.seed ?? `${spec.seed}/${platform}/${position}`;
      const { descriptor, diffId } = await pushLayer(origin, repository, seed, layer, signal);
      layers.push(descriptor);
      diffIds.push(diffId);
    }
    if (spec.runs) {
      const { descriptor, diffId } = await pushTar(origin, repository, openBusybox(), false, signal);
      layers.push(descriptor);
      diffIds.push(diffId);
    }
    const [os, architecture, variant] = platform.split('/');
    const configBytes = encode({
      created: '1970-01-01T00:00:00Z',
      architecture,
      os,
      ...(variant !== undefined && { variant }),
      // Images of different seeds differ though all their layers were given seeds.
      config: { Env: [`LAB_SEED=${spec.seed}`], ...(spec.runs && { Entrypoint: ['/busybox', ...spec.runs] }) },
      rootfs: { type: 'layers', diff_ids: diffIds },
    });
    const config = { mediaType: CONFIG_TYPE, digest: sha256(configBytes), size: configBytes.length };
    await pushBlob(origin, repository, bytesOf(configBytes), signal);
    const manifestBytes = encode({ schemaVersion: 2, mediaType: MANIFEST_TYPE, config, layers });
    const manifest = { mediaType: MANIFEST_TYPE, digest: sha256(manifestBytes), size: manifestBytes.length };
    await putManifest(origin, repository, manifest.digest, MANIFEST_TYPE, manifestBytes, signal);
    return { ...manifest, platform, config, layers };
  }

  return {
    push: async (name, spec, signal) => {
      const { repository, tag } = splitName(name);
      const manifests: PushedManifest[] = [];
      for (const platform of spec.platforms ?? [hostPlatform()]) {
        manifests.push(await pushImage(repository, platform, spec, signal));
      }
      const [only, ...more] = manifests;
      if (only && more.length === 0) {
        await retag(origin, repository, tag, only.digest, signal);
        return { repository, digest: only.digest, manifests };
      }
      const entries = manifests.map(({ mediaType, digest, size, platform }) => {
        const [os, architecture, variant] = platform.split('/');
        return { mediaType, digest, size, platform: { os, architecture, ...(variant !== undefined && { variant }) } };
      });
      const index = encode({ schemaVersion: 2, mediaType: INDEX_TYPE, manifests: entries });
      await putManifest(origin, repository, tag, INDEX_TYPE, index, signal);
      return { repository, digest: sha256(index), manifests };
    },
    tag: async (name, digest, signal) => {
      const { repository, tag } = splitName(name);
      await retag(origin, repository, tag, digest, signal);
    },
  };
}

function splitName(name: string): { repository: string; tag: string } {
  const [, repository, tag] = /^([a-z0-9][a-z0-9/._-]*):([\w][\w.-]*)$/.exec(name) ?? [];
  if (repository === undefined || tag === undefined) {
    throw new LabError('ERR_LAB_WISH_INVALID', `'${name}' is no repository:tag, such as team/app:v1`);
  }
  return { repository, tag };
}

async function pushLayer(origin: string, repository: string, seed: string, layer: LayerSpec, signal: AbortSignal) {
  return pushTar(origin, repository, openLayer(seed, layer.bytes), layer.gzip === true, signal);
}

async function pushTar(origin: string, repository: string, content: Readable, gzip: boolean, signal: AbortSignal) {
  const diffId = createHash('sha256');
  const tar = content.pipe(hashing(diffId));
  const blob = await pushBlob(origin, repository, gzip ? compress(tar) : tar, signal);
  const descriptor = { mediaType: gzip ? `${LAYER_TYPE}+gzip` : LAYER_TYPE, ...blob };
  return { descriptor, diffId: `sha256:${diffId.digest('hex')}` };
}

/** Uploads in one go while hashing: the registry takes the digest when the upload is closed. */
async function pushBlob(origin: string, repository: string, content: Readable, signal: AbortSignal) {
  const hash = createHash('sha256');
  let size = 0;
  const counted = content.pipe(
    hashing(hash, (bytes) => {
      size += bytes;
    }),
  );
  const opened = await send({ url: `${origin}/v2/${repository}/blobs/uploads/`, method: 'POST', expect: 202 }, signal);
  const location = new URL(opened.location ?? '', origin);
  const filled = await send(
    { url: location.href, method: 'PATCH', body: counted, type: 'application/octet-stream', expect: 202 },
    signal,
  );
  const digest = `sha256:${hash.digest('hex')}`;
  const close = new URL(filled.location ?? location.href, origin);
  close.searchParams.set('digest', digest);
  await send({ url: close.href, method: 'PUT', expect: 201 }, signal);
  return { digest, size };
}

async function putManifest(
  origin: string,
  repository: string,
  reference: string,
  type: string,
  body: Buffer,
  signal: AbortSignal,
) {
  const url = `${origin}/v2/${repository}/manifests/${reference}`;
  await send({ url, method: 'PUT', body: bytesOf(body), type, expect: 201 }, signal);
}

async function retag(origin: string, repository: string, tag: string, digest: string, signal: AbortSignal) {
  const url = `${origin}/v2/${repository}/manifests/${digest}`;
  const { type, body } = await send(
    { url, method: 'GET', expect: 200, accept: `${MANIFEST_TYPE}, ${INDEX_TYPE}` },
    signal,
  );
  await putManifest(origin, repository, tag, type ?? MANIFEST_TYPE, Buffer.from(body), signal);
}

interface Exchange {
  readonly url: string;
  readonly method: string;
  readonly body?: Readable;
  readonly type?: string;
  readonly accept?: string;
  readonly expect: number;
}

async function send({ url, method, body, type, accept, expect }: Exchange, signal: AbortSignal) {
  const { promise, resolve, reject } = Promise.withResolvers<http.IncomingMessage>();
  const headers = { ...(type !== undefined && { 'content-type': type }), ...(accept !== undefined && { accept }) };
  const request = http.request(url, { method, headers, signal }, resolve).on('error', reject);
  if (body) await pipeline(body, request);
  else request.end();
  const response = await promise;
  const answer = await text(response);
  if (response.statusCode !== expect) {
    throw new LabError('ERR_LAB_REGISTRY_REFUSED', `${method} ${url} answered ${response.statusCode}: ${answer}`);
  }
  return { location: response.headers.location, type: response.headers['content-type'], body: answer };
}

function hashing(hash: Hash, count: (bytes: number) => void = () => {}): Transform {
  return new Transform({
    transform: (chunk: Buffer, _encoding, callback) => {
      hash.update(chunk);
      count(chunk.length);
      callback(null, chunk);
    },
  });
}

function* once(bytes: Buffer): Generator<Buffer> {
  yield bytes;
}

function bytesOf(bytes: Buffer): Readable {
  return Readable.from(once(bytes), { objectMode: false });
}

function encode(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}

function sha256(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}
