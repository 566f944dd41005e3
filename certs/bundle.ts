import { fingerprint } from './authority.ts';

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[\sA-Za-z0-9+/=]+-----END CERTIFICATE-----/g;

/** Certificates one after another, as the apiserver reads a caBundle. */
export function formatBundle(certificates: readonly string[]): string {
  return certificates.map((certificate) => `${certificate.trim()}\n`).join('');
}

/** The fingerprints of what is in a bundle; what is no certificate is passed over. */
export function readBundle(bundle: string): ReadonlySet<string> {
  return new Set(bundle.match(CERTIFICATE)?.map(fingerprint));
}
