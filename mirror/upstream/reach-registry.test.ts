/** Registries that are not simply there: behind a proxy, or for who has a certificate. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import net, { type AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import type { TLSSocket } from 'node:tls';
import { createAuthority, issueLeaf } from '../../certs/authority.ts';
import type { Digest } from '../../common/oci/digest.ts';
import type { Registry, Repository } from '../../common/oci/reference.ts';
import { findUpstream } from '../../containerd/find-upstream.ts';
import { createUrlAsker } from './ask-url.ts';
import { parseProxyEnv } from './proxy-env.ts';
import { createRegistryClient } from './registry-client.ts';

const DIGEST = `sha256:${'a'.repeat(64)}` as Digest;
const HOST = 'registry.test';

/** A registry for the one client that has the right certificate, a proxy that alone knows where it is, and a certs.d. */
async function start(t: TestContext) {
  const validity = { from: new Date(Date.now() - 60_000), to: new Date(Date.now() + 3_600_000) };
  const authority = await createAuthority('lab', validity);
  const [server, client] = await Promise.all([
    issueLeaf(authority, [HOST], validity),
    issueLeaf(authority, ['c'], validity),
  ]);
  const { fingerprint256 } = new X509Certificate(client.certificate);
  const registry = https.createServer(
    { cert: server.certificate, key: server.key, requestCert: true, rejectUnauthorized: false },
    ({ socket }, response) => {
      const isKnown = (socket as TLSSocket).getPeerCertificate().fingerprint256 === fingerprint256;
      response.writeHead(isKnown ? 200 : 403, { 'docker-content-digest': DIGEST }).end();
    },
  );
  await once(registry.listen(0, '127.0.0.1'), 'listening');
  const { port } = registry.address() as AddressInfo;
  const tunnels: string[] = [];
  const proxy = http.createServer().on('connect', ({ url = '' }, socket) => {
    tunnels.push(url);
    const through = net.connect(port, '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      socket.pipe(through).pipe(socket);
    });
    for (const end of [socket, through]) end.on('error', () => {});
  });
  await once(proxy.listen(0, '127.0.0.1'), 'listening');
  const certsDir = fs.mkdtempSync(path.join(os.tmpdir(), 'miroir-reach-'));
  t.after(() => {
    registry.closeAllConnections();
    registry.close();
    proxy.close();
    fs.rmSync(certsDir, { recursive: true });
  });
  const name = `${HOST}:${port}`;
  const write = (file: string, text: string) => {
    fs.mkdirSync(path.join(certsDir, name), { recursive: true });
    fs.writeFileSync(path.join(certsDir, name, file), text);
  };
  write('ca.pem', authority.certificate);
  write('client.pem', client.certificate);
  write('client.key', client.key);
  write('both.pem', `${client.certificate}\n${client.key}`);
  const right = async (hosts: string, env: Readonly<Record<string, string>>) => {
    write('hosts.toml', hosts);
    const asked = parseProxyEnv(env);
    assert.ok(!('name' in asked));
    const urls = createUrlAsker(asked);
    t.after(() => urls.close());
    const find = (registryName: Registry) => findUpstream({ certsDir, registries: [] }, registryName);
    const content = { registry: name as Registry, repository: 'app' as Repository, digest: DIGEST } as const;
    const ask = createRegistryClient({ urls, findUpstream: find, now: () => 0 });
    return ask.rightTo({ kind: 'manifest', ...content }, undefined, AbortSignal.timeout(5000));
  };
  return { right, tunnels, name, proxy: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}` };
}

test('a registry behind a proxy is asked through it, and shown the certificate that hosts.toml names', async (t) => {
  const { right, tunnels, name, proxy } = await start(t);

  for (const [client, expected] of [
    ['client = [["client.pem", "client.key"]]', 'public'],
    ['client = "both.pem"', 'public'],
    ['client = ["both.pem"]', 'public'],
    ['client = [["client.pem", "/none"]]', 'denied'],
    ['', 'denied'],
  ] as const) {
    assert.equal(await right(`ca = "ca.pem"\n${client}\n`, { HTTPS_PROXY: proxy }), expected, client);
  }

  assert.deepEqual(new Set(tunnels), new Set([name]));
});

test('without the proxy, or with the registry excepted from it, nobody answers', async (t) => {
  const { right, tunnels, proxy } = await start(t);

  for (const env of [{}, { HTTPS_PROXY: proxy, NO_PROXY: '.test' }]) {
    await assert.rejects(right('ca = "ca.pem"\n', env), { code: 'ERR_REGISTRY_UNAVAILABLE' });
  }

  assert.deepEqual(tunnels, []);
});
