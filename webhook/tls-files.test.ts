import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test, { type TestContext } from 'node:test';
import { type CertificateAndKey, createAuthority, issueLeaf } from '../certs/authority.ts';
import { hasCode } from '../common/errors.ts';
import { silentLogger } from '../common/log.ts';
import { createTlsFiles } from './tls-files.ts';

async function setUp(t: TestContext) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'miroir-tls-'));
  t.after(() => fs.rmSync(folder, { recursive: true }));
  const validity = { from: new Date(Date.now() - 60_000), to: new Date(Date.now() + 60_000) };
  const authority = await createAuthority('an authority', validity);
  const certificateFile = path.join(folder, 'tls.crt');
  const keyFile = path.join(folder, 'tls.key');
  const uses: CertificateAndKey[] = [];
  const warned = { next: Promise.withResolvers<void>() };
  const used = { next: Promise.withResolvers<void>() };
  const files = createTlsFiles(
    {
      log: { ...silentLogger, warn: () => warned.next.resolve() },
      use: (pair) => {
        uses.push(pair);
        used.next.resolve();
      },
    },
    { certificateFile, keyFile, intervalMs: 5 },
  );
  t.after(() => files.stop());
  return {
    files,
    uses,
    warned,
    used,
    issue: () => issueLeaf(authority, ['miroir-webhook.miroir.svc'], validity),
    write: ({ certificate, key }: Partial<CertificateAndKey>) => {
      if (certificate !== undefined) fs.writeFileSync(certificateFile, certificate);
      if (key !== undefined) fs.writeFileSync(keyFile, key);
    },
  };
}

test('a pair that changes is taken into use, and one of two halves is not', async (t) => {
  const { files, uses, warned, used, issue, write } = await setUp(t);
  const [one, two] = [await issue(), await issue()];
  write(one);
  await files.start(t.signal);
  assert.deepEqual(uses, [one]);

  write({ certificate: two.certificate });
  await warned.next.promise;
  assert.deepEqual(uses, [one]);
  used.next = Promise.withResolvers();
  write({ key: two.key });
  await used.next.promise;

  assert.deepEqual(uses, [one, two]);
});

for (const { title, pair } of [
  { title: 'are not there', pair: {} },
  { title: 'are no certificate and no key', pair: { certificate: 'x', key: 'y' } },
]) {
  test(`files that ${title} are a mistake that is told at the start`, async (t) => {
    const { files, write } = await setUp(t);
    write(pair);

    await assert.rejects(files.start(t.signal), (error) => hasCode(error, 'ERR_TLS_FILES_INVALID'));
  });
}
