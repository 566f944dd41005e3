import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import type { CertificateAndKey } from '../certs/authority.ts';
import { MiroirError } from '../common/errors.ts';
import { type Component, createLoop } from '../common/lifecycle.ts';
import type { Logger } from '../common/log.ts';

export interface TlsFilesDeps {
  readonly log: Logger;
  readonly use: (certificate: CertificateAndKey, expires: Date) => void;
}

export interface TlsFilesOptions {
  readonly certificateFile: string;
  readonly keyFile: string;
  /** Between two looks at the files. */
  readonly intervalMs?: number;
}

/** A mounted Secret is swapped by renaming folders, which file watches miss now and then: looking is cheap and sure. */
const INTERVAL_MS = 10_000;

/**
 * The certificate from two files, and again whenever they change. Starting throws ERR_TLS_FILES_INVALID when they are of
 * no use; later the certificate stays until they are.
 */
export function createTlsFiles({ log, use }: TlsFilesDeps, options: TlsFilesOptions): Component {
  const loop = createLoop((signal) => run(signal).catch(() => {})); // It ends when it is stopped.
  let known: string | undefined;

  async function look(): Promise<void> {
    const { leaf, ...pair } = await readPair(options);
    const text = pair.certificate + pair.key;
    if (text === known) return;
    use(pair, leaf.validToDate);
    known = text;
    log.info('Certificate taken into use', { subject: leaf.subjectAltName, expires: leaf.validTo });
  }

  async function run(signal: AbortSignal): Promise<void> {
    for (;;) {
      await delay(options.intervalMs ?? INTERVAL_MS, undefined, { signal });
      await look().catch((error: unknown) => log.warn('The certificate files are of no use now', { error }));
    }
  }

  return {
    ...loop,
    start: async (signal) => {
      await look();
      await loop.start(signal);
    },
  };
}

async function readPair({
  certificateFile,
  keyFile,
}: TlsFilesOptions): Promise<CertificateAndKey & { leaf: X509Certificate }> {
  const invalid = (problem: string, cause?: unknown) =>
    new MiroirError('ERR_TLS_FILES_INVALID', `${certificateFile} and ${keyFile}: ${problem}`, { cause });
  let texts: [string, string];
  try {
    texts = await Promise.all([readFile(certificateFile, 'utf8'), readFile(keyFile, 'utf8')]);
  } catch (cause) {
    throw invalid('cannot be read', cause);
  }
  const [certificate, key] = texts;
  let leaf: X509Certificate;
  let belongs: boolean;
  try {
    leaf = new X509Certificate(certificate); // Of a chain, the first.
    belongs = leaf.checkPrivateKey(createPrivateKey(key));
  } catch (cause) {
    throw invalid('are not a certificate and a key in PEM', cause);
  }
  // A Secret that is just being swapped shows halves of two pairs.
  if (!belongs) throw invalid('do not belong together');
  return { certificate, key, leaf };
}
