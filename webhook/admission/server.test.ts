import assert from 'node:assert/strict';
import { once } from 'node:events';
import type http from 'node:http';
import https from 'node:https';
import test, { type TestContext } from 'node:test';
import type { TLSSocket } from 'node:tls';
import { createAuthority, issueLeaf } from '../../certs/authority.ts';
import { silentLogger } from '../../common/log.ts';
import type { NamespaceView } from './mutate-pod.ts';
import { createAdmissionServer } from './server.ts';

const NAME = 'miroir-webhook.miroir.svc';
const TEAM = { name: 'team', labels: { 'miroir.dev/mirror': 'enabled' }, annotations: {} };
const REVIEW = JSON.stringify({
  apiVersion: 'admission.k8s.io/v1',
  kind: 'AdmissionReview',
  request: {
    uid: 'u-1',
    operation: 'CREATE',
    resource: { group: '', version: 'v1', resource: 'pods' },
    namespace: 'team',
    object: { metadata: { name: 'app' }, spec: { containers: [] } },
  },
});

async function start(t: TestContext, findNamespace: () => Promise<NamespaceView> = async () => TEAM) {
  const validity = { from: new Date(Date.now() - 60_000), to: new Date(Date.now() + 60_000) };
  const authority = await createAuthority('an authority', validity);
  const issue = () => issueLeaf(authority, [NAME], validity);
  const server = createAdmissionServer(
    {
      findNamespace,
      context: () => ({
        version: '1.2.3',
        ownNamespace: 'miroir',
        bypass: { block: undefined, require: undefined, wait: undefined },
        sidecar: undefined,
      }),
      metrics: { reviewed: () => {} },
      log: silentLogger,
    },
    { address: { host: '127.0.0.1', port: 0 }, drainMs: 100 },
  );
  await server.start(t.signal);
  t.after(() => server.stop());
  const agent = new https.Agent({ keepAlive: true, maxSockets: 1, ca: authority.certificate, servername: NAME });
  t.after(() => agent.destroy());
  const ask = async () => {
    const { host, port } = server.address();
    const headers = { 'content-type': 'application/json' };
    const request = https.request({ host, port, agent, method: 'POST', path: '/mutate-pods?timeout=3s', headers });
    request.end(REVIEW);
    const [response] = (await once(request, 'response')) as [http.IncomingMessage];
    const serial = (response.socket as TLSSocket).getPeerCertificate().serialNumber;
    const review = JSON.parse(Buffer.concat((await response.toArray()) as Buffer[]).toString());
    return { serial, connection: response.headers.connection, isReused: request.reusedSocket, review };
  };
  return { server, issue, ask };
}

test('without a certificate it is not serving, and handshakes fail', async (t) => {
  const { server, ask } = await start(t);

  assert.equal(server.isServing(), false);
  await assert.rejects(ask());
});

test('connections are kept, and after a change of certificates each is closed with its next answer', async (t) => {
  const { server, issue, ask } = await start(t);
  server.useCertificate(await issue());
  const first = await ask();
  const second = await ask();
  assert.deepEqual([second.isReused, second.connection, second.serial], [true, 'keep-alive', first.serial]);

  server.useCertificate(await issue());
  const last = await ask();
  const fresh = await ask();

  assert.deepEqual([last.isReused, last.connection, last.serial], [true, 'close', first.serial]);
  assert.deepEqual([fresh.isReused, fresh.connection], [false, 'keep-alive']);
  assert.notEqual(fresh.serial, first.serial);
});

test('while it stops it is not ready, answers what comes, and closes each connection with its answer', async (t) => {
  const asked = Promise.withResolvers<void>();
  const found = Promise.withResolvers<NamespaceView>();
  const { server, issue, ask } = await start(t, () => {
    asked.resolve();
    return found.promise;
  });
  server.useCertificate(await issue());
  const pending = ask();
  await asked.promise;

  const stopped = server.stop();
  assert.equal(server.isServing(), false);
  found.resolve(TEAM);
  const { connection, review } = await pending;
  const late = await ask();
  await stopped;

  assert.deepEqual([connection, review.response.auditAnnotations.gate], ['close', 'block']);
  assert.deepEqual([late.connection, late.review.response.allowed], ['close', true]);
  await assert.rejects(ask());
});
