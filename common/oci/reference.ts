import { type Digest, parseDigest } from './digest.ts';

declare const registryBrand: unique symbol;
declare const repositoryBrand: unique symbol;
declare const tagBrand: unique symbol;

/** A registry's host as references name it, with its port where it has one: `docker.io`, `localhost:5000`, `[::1]:5000`. */
export type Registry = string & { readonly [registryBrand]: true };
/** A repository's path below its registry: `library/alpine`. */
export type Repository = string & { readonly [repositoryBrand]: true };
/** A tag: `3.20`. */
export type Tag = string & { readonly [tagBrand]: true };

/** A tag in full, as containerd names an image: `docker.io/library/alpine:3.20`. */
export interface TagReference {
  readonly registry: Registry;
  readonly repository: Repository;
  readonly tag: Tag;
}

/** An image's name in containerd: a tag, a digest, or both. */
export interface ImageReference {
  readonly registry: Registry;
  readonly repository: Repository;
  readonly tag?: Tag;
  readonly digest?: Digest;
}

/** A DNS name is at most 253 characters (RFC 1035); brackets and a port come on top. */
const REGISTRY_LENGTH_MAX = 253 + 8;
/** The distribution spec's own limit: a name and its registry together stay within 255 characters. */
const REPOSITORY_LENGTH_MAX = 255;

const HOST_LABEL = '[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?';
const REGISTRY = new RegExp(`^(?:${HOST_LABEL}(?:\\.${HOST_LABEL})*|\\[[0-9a-fA-F:.]{2,45}\\])(?::([0-9]{1,5}))?$`);
/** distribution-spec 1.1, "Pulling manifests": `<name>`. */
const REPOSITORY = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/;
/** distribution-spec 1.1, "Pulling manifests": `<reference>` as a tag. */
const TAG = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/;

export function parseRegistry(text: string): Registry | undefined {
  if (text.length > REGISTRY_LENGTH_MAX) return undefined;
  const match = REGISTRY.exec(text);
  if (match === null) return undefined;
  const port = match[1];
  return port === undefined || (Number(port) >= 1 && Number(port) <= 65_535) ? (text as Registry) : undefined;
}

export function parseRepository(text: string): Repository | undefined {
  return text.length <= REPOSITORY_LENGTH_MAX && REPOSITORY.test(text) ? (text as Repository) : undefined;
}

export function parseTag(text: string): Tag | undefined {
  return TAG.test(text) ? (text as Tag) : undefined;
}

/** Parses the name of an image as containerd stores it; the registry is always written out there. */
export function parseImageReference(text: string): ImageReference | undefined {
  const slash = text.indexOf('/');
  if (slash < 0) return undefined;
  const registry = parseRegistry(text.slice(0, slash));
  let rest = text.slice(slash + 1);
  let digest: Digest | undefined;
  const at = rest.indexOf('@');
  if (at >= 0) {
    digest = parseDigest(rest.slice(at + 1));
    if (digest === undefined) return undefined;
    rest = rest.slice(0, at);
  }
  let tag: Tag | undefined;
  const colon = rest.indexOf(':');
  if (colon >= 0) {
    tag = parseTag(rest.slice(colon + 1));
    if (tag === undefined) return undefined;
    rest = rest.slice(0, colon);
  }
  const repository = parseRepository(rest);
  if (registry === undefined || repository === undefined || (tag === undefined && digest === undefined))
    return undefined;
  return { registry, repository, ...(tag !== undefined && { tag }), ...(digest !== undefined && { digest }) };
}

export function formatImageReference(reference: ImageReference): string {
  const { registry, repository, tag, digest } = reference;
  return `${registry}/${repository}${tag === undefined ? '' : `:${tag}`}${digest === undefined ? '' : `@${digest}`}`;
}
