declare const digestBrand: unique symbol;

/** `sha256:` and 64 lower-case hex digits. */
export type Digest = string & { readonly [digestBrand]: true };

const SHA256_DIGEST = /^sha256:[0-9a-f]{64}$/;

/**
 * Parses a digest as the image spec writes it. Only sha256 is taken: containerd's content store, and so every node that
 * could hold the content, knows no other algorithm by default.
 */
export function parseDigest(text: string): Digest | undefined {
  return SHA256_DIGEST.test(text) ? (text as Digest) : undefined;
}

/** The 64 hex digits of a digest: the name of its file in containerd's content store. */
export function digestHex(digest: Digest): string {
  return digest.slice('sha256:'.length);
}
