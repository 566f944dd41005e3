import { type Digest, parseDigest } from '../../common/oci/digest.ts';
import {
  parseRegistry,
  parseRepository,
  parseTag,
  type Registry,
  type Repository,
  type Tag,
} from '../../common/oci/reference.ts';
import { type OciRefusal, refusal } from './oci-error.ts';

/** What a request of the OCI pull API asks for. */
export type OciPath =
  | { readonly kind: 'base' }
  | {
      readonly kind: 'manifest';
      readonly registry?: Registry;
      readonly repository: Repository;
      readonly reference: ManifestReference;
    }
  | { readonly kind: 'blob'; readonly registry?: Registry; readonly repository: Repository; readonly digest: Digest };

export type ManifestReference =
  | { readonly digest: Digest; readonly tag?: undefined }
  | { readonly tag: Tag; readonly digest?: undefined };

/** Longer than the longest registry, repository and digest together, with every one of their characters encoded. */
const TARGET_LENGTH_MAX = 2048;

const NOT_HERE = refusal(404, 'UNSUPPORTED', 'this registry only answers manifests and blobs');
const BAD_NAME = refusal(400, 'NAME_INVALID', 'the repository name is not valid');
const BAD_NAMESPACE = refusal(400, 'NAME_INVALID', 'ns must name one registry, once');

/**
 * Parses a request's target, as it stands in the request line. The registry comes from `?ns=`, as containerd sends it, or
 * is the first part of the name where that looks like a host (`/v2/hub.example/library/alpine/...`), as in image references.
 */
export function parseOciPath(target: string): OciPath | { readonly refused: OciRefusal } {
  if (target.length > TARGET_LENGTH_MAX) return { refused: refusal(414, 'NAME_INVALID', 'the path is too long') };
  const question = target.indexOf('?');
  const path = question < 0 ? target : target.slice(0, question);
  const namespace = question < 0 ? {} : parseQuery(target.slice(question + 1));
  if ('refused' in namespace) return namespace;
  if (path === '/v2/' || path === '/v2') return { kind: 'base' };
  if (!path.startsWith('/v2/')) return { refused: NOT_HERE };
  const parts = decodeParts(path.slice('/v2/'.length));
  if (parts === undefined) return { refused: BAD_NAME };
  const [kind, reference] = parts.splice(-2);
  if (kind !== 'manifests' && kind !== 'blobs') return { refused: NOT_HERE };
  const name = parseName(parts, namespace.registry);
  if (name === undefined) return { refused: BAD_NAME };
  return kind === 'blobs' ? parseBlob(name, reference as string) : parseManifest(name, reference as string);
}

/** The target that `parseOciPath` reads back: how a peer is asked. */
export function formatOciPath(path: Exclude<OciPath, { kind: 'base' }>): string {
  const last =
    path.kind === 'blob' ? `blobs/${path.digest}` : `manifests/${path.reference.digest ?? path.reference.tag}`;
  const query = path.registry === undefined ? '' : `?ns=${encodeURIComponent(path.registry)}`;
  return `/v2/${path.repository}/${last}${query}`;
}

interface Name {
  readonly registry?: Registry;
  readonly repository: Repository;
}

function parseName(parts: readonly string[], namespace: Registry | undefined): Name | undefined {
  const [first, ...rest] = parts;
  if (namespace === undefined && first !== undefined && rest.length > 0 && looksLikeHost(first)) {
    const registry = parseRegistry(first);
    const repository = parseRepository(rest.join('/'));
    return registry === undefined || repository === undefined ? undefined : { registry, repository };
  }
  const repository = parseRepository(parts.join('/'));
  if (repository === undefined) return undefined;
  return namespace === undefined ? { repository } : { registry: namespace, repository };
}

/** The rule that tells `localhost/app` and `registry.example/app` from `library/app`: distribution's, and so containerd's. */
function looksLikeHost(part: string): boolean {
  return part.includes('.') || part.includes(':') || part === 'localhost';
}

function parseBlob(name: Name, reference: string): OciPath | { readonly refused: OciRefusal } {
  const digest = parseDigest(reference);
  if (digest !== undefined) return { kind: 'blob', ...name, digest };
  if (isForeignDigest(reference)) return { refused: refusal(404, 'BLOB_UNKNOWN', 'only sha256 content is held here') };
  return { refused: refusal(400, 'DIGEST_INVALID', 'the digest is not valid') };
}

function parseManifest(name: Name, reference: string): OciPath | { readonly refused: OciRefusal } {
  const digest = parseDigest(reference);
  if (digest !== undefined) return { kind: 'manifest', ...name, reference: { digest } };
  const tag = parseTag(reference);
  if (tag !== undefined) return { kind: 'manifest', ...name, reference: { tag } };
  if (reference.includes(':') && !isForeignDigest(reference)) {
    return { refused: refusal(400, 'DIGEST_INVALID', 'the digest is not valid') };
  }
  // The distribution spec has one answer for a manifest that is not there, whatever it is called.
  return { refused: refusal(404, 'MANIFEST_UNKNOWN', 'no manifest can have this reference here') };
}

/** A digest of the image spec's grammar in an algorithm that containerd's store does not use: valid, and never here. */
function isForeignDigest(text: string): boolean {
  return /^[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]{32,}$/.test(text) && !text.startsWith('sha256:');
}

function parseQuery(query: string): { readonly registry?: Registry } | { readonly refused: OciRefusal } {
  let registry: Registry | undefined;
  for (const pair of query === '' ? [] : query.split('&')) {
    const equals = pair.indexOf('=');
    if (equals < 0 || pair.slice(0, equals) !== 'ns') {
      return { refused: refusal(400, 'UNSUPPORTED', 'the only query parameter is ns') };
    }
    const decoded = decode(pair.slice(equals + 1));
    const parsed = decoded === undefined ? undefined : parseRegistry(decoded);
    if (parsed === undefined || registry !== undefined) return { refused: BAD_NAMESPACE };
    registry = parsed;
  }
  return registry === undefined ? {} : { registry };
}

/** Decodes each part by itself, so that an encoded slash stays what it is: no part of any name. */
function decodeParts(path: string): string[] | undefined {
  const parts: string[] = [];
  for (const part of path.split('/')) {
    const decoded = decode(part);
    if (decoded === undefined || decoded.includes('/')) return undefined;
    parts.push(decoded);
  }
  return parts;
}

function decode(text: string): string | undefined {
  if (!text.includes('%')) return text;
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined; // A percent sign that starts no character.
  }
}
