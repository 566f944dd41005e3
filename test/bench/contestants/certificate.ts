import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

/** Makes a certificate of a name that nobody vouches for, `cert.pem`, and its key, `key.pem`, in a folder: PEM files, by openssl. */
export async function makeCertificate(
  folder: string,
  name: string,
): Promise<{ readonly certificate: string; readonly key: string }> {
  const [certificate, key] = [`${folder}/cert.pem`, `${folder}/key.pem`];
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  const files = ['-keyout', key, '-out', certificate];
  await promisify(execFile)('openssl', ['req', '-x509', ...curve, '-subj', `/CN=${name}`, ...files]);
  return { certificate, key };
}
