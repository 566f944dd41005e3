import { createPrivateKey, X509Certificate } from 'node:crypto';
import { type CertificateAndKey, fingerprint } from './authority.ts';
import type { Authorities, AuthorityView } from './rotation.ts';

/** An authority with its key, ready to sign. */
export interface StoredAuthority extends AuthorityView, CertificateAndKey {}

/** The texts of a Secret. */
export type SecretTexts = Readonly<Record<string, string>>;

/** Anybody can read what is in a Secret of the cluster's administrators; nothing else of theirs is that large. */
const TEXT_CHARS_MAX = 64 * 1024;

export function formatAuthorities({ current, next, previous }: Authorities<StoredAuthority>): SecretTexts {
  return {
    'current.crt': current.certificate,
    'current.key': current.key,
    ...(next && { 'next.crt': next.authority.certificate, 'next.key': next.authority.key }),
    ...(next?.published && { 'next.published': next.published.toISOString() }),
    ...(previous && {
      'previous.crt': previous.authority.certificate,
      'previous.key': previous.authority.key,
      'previous.retired': previous.retired.toISOString(),
    }),
  };
}

/** Undefined when there is no current authority that is whole. Of the other two, one that is not whole is left out. */
export function parseAuthorities(texts: SecretTexts): Authorities<StoredAuthority> | undefined {
  const current = parseAuthority(texts['current.crt'], texts['current.key']);
  if (current === undefined) return undefined;
  const next = parseAuthority(texts['next.crt'], texts['next.key']);
  const previous = parseAuthority(texts['previous.crt'], texts['previous.key']);
  return {
    current,
    next: next && { authority: next, published: parseDate(texts['next.published']) },
    // Without a moment it is as if it had been retired long ago.
    previous: previous && { authority: previous, retired: parseDate(texts['previous.retired']) ?? new Date(0) },
  };
}

export function viewAuthority({ certificate, key }: CertificateAndKey): StoredAuthority {
  return { certificate, key, id: fingerprint(certificate), expires: new X509Certificate(certificate).validToDate };
}

function parseAuthority(certificate: string | undefined, key: string | undefined): StoredAuthority | undefined {
  if (certificate === undefined || key === undefined) return undefined;
  if (certificate.length > TEXT_CHARS_MAX || key.length > TEXT_CHARS_MAX) return undefined;
  try {
    const parsed = new X509Certificate(certificate);
    const isWhole = parsed.ca && parsed.checkPrivateKey(createPrivateKey(key));
    return isWhole ? viewAuthority({ certificate, key }) : undefined;
  } catch {
    return undefined; // Somebody edited it.
  }
}

function parseDate(text: string | undefined): Date | undefined {
  const date = new Date(text ?? '');
  return Number.isNaN(date.getTime()) ? undefined : date;
}
