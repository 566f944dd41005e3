import assert from 'node:assert/strict';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import test from 'node:test';
import tls from 'node:tls';
import { createAuthority, fingerprint, issueLeaf } from './authority.ts';

const NAMES = ['miroir-webhook.miroir.svc', 'miroir-webhook.miroir.svc.cluster.local'];

function validity(days: number) {
  const now = Date.now();
  return { from: new Date(now - 3_600_000), to: new Date(now + days * 86_400_000) };
}

test('a leaf is for its names, signed by its authority, and its key is its own', async () => {
  const authority = await createAuthority('an authority', validity(10));

  const leaf = await issueLeaf(authority, NAMES, validity(1));

  const issuer = new X509Certificate(authority.certificate);
  const certificate = new X509Certificate(leaf.certificate);
  assert.ok(issuer.ca);
  assert.ok(!certificate.ca);
  assert.ok(certificate.checkIssued(issuer));
  assert.ok(certificate.verify(issuer.publicKey));
  assert.ok(certificate.checkPrivateKey(createPrivateKey(leaf.key)));
  for (const name of NAMES) assert.equal(certificate.checkHost(name), name);
  assert.equal(certificate.checkHost('miroir-webhook.other.svc'), undefined);
  assert.notEqual(fingerprint(leaf.certificate), fingerprint(authority.certificate));
});

test('a client that trusts the authority alone speaks TLS with the leaf', async (t) => {
  const authority = await createAuthority('an authority', validity(10));
  const other = await createAuthority('an authority', validity(10)); // Of the same name, which must not do.
  const leaf = await issueLeaf(authority, NAMES, validity(1));
  const server = tls.createServer({ cert: leaf.certificate, key: leaf.key }, (socket) => socket.end('hello'));
  server.on('tlsClientError', () => {}); // The one who trusts somebody else hangs up.
  t.after(() => server.close());
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  const connect = (ca: string) => tls.connect({ port, host: '127.0.0.1', servername: NAMES[0] ?? '', ca });

  const [greeting] = (await once(connect(authority.certificate), 'data')) as [Buffer];

  assert.equal(greeting.toString(), 'hello');
  await assert.rejects(once(connect(other.certificate), 'secureConnect'));
});
