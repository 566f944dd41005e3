import { createHash, generateKeyPair, randomBytes } from 'node:crypto';
import { promisify } from 'node:util';
import forge from 'node-forge';

/** PEM texts. */
export interface CertificateAndKey {
  readonly certificate: string;
  /** PKCS #8. */
  readonly key: string;
}

export interface Validity {
  readonly from: Date;
  readonly to: Date;
}

/** What every TLS library takes, and what forge can sign with: it knows RSA alone. */
const KEY_BITS = 2048;
const SERIAL_BYTES = 16;

/** A self-signed authority that signs leaf certificates and nothing below them. */
export async function createAuthority(commonName: string, validity: Validity): Promise<CertificateAndKey> {
  const { key, certificate } = await prepare(commonName, validity);
  certificate.setIssuer(certificate.subject.attributes);
  certificate.setExtensions([
    { name: 'basicConstraints', critical: true, cA: true, pathLenConstraint: 0 },
    { name: 'keyUsage', critical: true, keyCertSign: true, cRLSign: true },
    { name: 'subjectKeyIdentifier' },
  ]);
  return sign(certificate, key, key);
}

/** A server's certificate for these DNS names. */
export async function issueLeaf(
  authority: CertificateAndKey,
  dnsNames: readonly string[],
  validity: Validity,
): Promise<CertificateAndKey> {
  const issuer = forge.pki.certificateFromPem(authority.certificate);
  // Limited to 64 characters, which the names of a Service can exceed: the names that count are below.
  const { key, certificate } = await prepare('miroir webhook', validity);
  certificate.setIssuer(issuer.subject.attributes);
  certificate.setExtensions([
    { name: 'basicConstraints', critical: true, cA: false },
    { name: 'keyUsage', critical: true, digitalSignature: true, keyEncipherment: true },
    { name: 'extKeyUsage', serverAuth: true },
    { name: 'subjectAltName', altNames: dnsNames.map((value) => ({ type: DNS_NAME, value })) },
    { name: 'subjectKeyIdentifier' },
    { name: 'authorityKeyIdentifier', keyIdentifier: issuer.generateSubjectKeyIdentifier().getBytes() },
  ]);
  return sign(certificate, key, authority.key);
}

/** Tells certificates apart, in logs and in states: the first half of the SHA-256 of its DER. */
export function fingerprint(certificate: string): string {
  const der = Buffer.from(certificate.replace(/-----[^-]+-----|\s/g, ''), 'base64');
  return createHash('sha256').update(der).digest('hex').slice(0, 32);
}

/** The tag of dNSName: https://www.rfc-editor.org/rfc/rfc5280#section-4.2.1.6 */
const DNS_NAME = 2;

/** Forge would make keys in JavaScript: seconds of work on the event loop, where Node's take none of it. */
async function prepare(commonName: string, { from, to }: Validity) {
  const pair = await promisify(generateKeyPair)('rsa', { modulusLength: KEY_BITS });
  const certificate = forge.pki.createCertificate();
  certificate.publicKey = forge.pki.publicKeyFromPem(pair.publicKey.export({ type: 'spki', format: 'pem' }));
  certificate.serialNumber = serialNumber();
  certificate.validity.notBefore = from;
  certificate.validity.notAfter = to;
  certificate.setSubject([{ name: 'commonName', value: commonName }]);
  return { certificate, key: pair.privateKey.export({ type: 'pkcs8', format: 'pem' }) };
}

/** Positive, and not shorter than it seems: the first byte is between 0x40 and 0x7f. */
function serialNumber(): string {
  const bytes = randomBytes(SERIAL_BYTES);
  bytes[0] = ((bytes[0] as number) & 0x3f) | 0x40;
  return bytes.toString('hex');
}

function sign(certificate: forge.pki.Certificate, key: string, signingKey: string): CertificateAndKey {
  certificate.sign(forge.pki.privateKeyFromPem(signingKey), forge.md.sha256.create());
  return { certificate: forge.pki.certificateToPem(certificate).replaceAll('\r\n', '\n'), key };
}
