import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import test, { type TestContext } from 'node:test';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { type HostPort, parseHostPort } from '../../common/host-port.ts';
import { parseRegistry, type Registry } from '../../common/oci/reference.ts';
import { createCriClient } from '../../containerd/api/cri.ts';
import { cleanup } from '../../containerd/cleanup.ts';
import { configure, configureRegistry } from '../../containerd/configure.ts';
import { makeImage } from '../conformance/store-image.ts';
import { hostsToml } from '../property/hosts-arbitrary.ts';
import { CONTAINERD_VERSIONS, type ContainerdVersion, startContainerd } from './real-containerd.ts';
import { type RegistryTls, type SmallRegistry, startRegistry } from './small-registry.ts';

const NAME = 'registry.example' as Registry;
const IMAGE = `${NAME}/team/app:v1`;

/** A containerd, a registry upstream of it, and something that answers where the mirror would. */
async function startNode(t: TestContext, version: ContainerdVersion, tls?: RegistryTls) {
  const upstream = await startRegistry(t, tls);
  const mirror = await startRegistry(t);
  const { certsDir, socket } = await startContainerd(t, version);
  const cri = createCriClient({ socket });
  t.after(() => cri.close());
  return {
    certsDir,
    upstream,
    mirror,
    mirrorAddress: parseHostPort(mirror.host) as HostPort,
    pull: (image: string) => cri.pullImage({ image }, t.signal),
    write: async (folder: string, name: string, text: string) => {
      await fs.mkdir(path.join(certsDir, folder), { recursive: true });
      await fs.writeFile(path.join(certsDir, folder, name), text);
    },
  };
}

const lines = ({ requests }: SmallRegistry, method = '') =>
  requests.map(({ line }) => line).filter((line) => line.startsWith(method));

for (const version of CONTAINERD_VERSIONS) {
  test(`containerd ${version}, fresh: the registry resolves the tag, the mirror gives the bytes`, async (t) => {
    const { certsDir, upstream, mirror, mirrorAddress, pull } = await startNode(t, version);
    const image = makeImage('fresh');
    upstream.add('v1', image);
    mirror.add('v1', makeImage('stale'));
    mirror.add('other', image);
    const registries = [{ name: NAME, upstream: `http://${upstream.host}` }];
    await configure({ certsDir, registries, mirrorAddress, tags: 'fresh' });

    await pull(IMAGE);

    assert.deepEqual(lines(upstream), [`HEAD /v2/team/app/manifests/v1?ns=${NAME}`]);
    assert.deepEqual(lines(mirror, 'HEAD'), []);
    assert.equal(lines(mirror, 'GET').length, 3, 'manifest, config and layer');
    assert.ok(lines(mirror).every((line) => line.endsWith(`?ns=${NAME}`)));
  });

  test(`containerd ${version}, fresh: the mirror resolves the tag when the registry fails`, async (t) => {
    const { certsDir, upstream, mirror, mirrorAddress, pull } = await startNode(t, version);
    upstream.fail(503);
    mirror.add('v1', makeImage('kept'));
    const registries = [{ name: NAME, upstream: `http://${upstream.host}` }];
    await configure({ certsDir, registries, mirrorAddress, tags: 'fresh' });

    await pull(IMAGE);

    assert.deepEqual(lines(mirror, 'HEAD'), [`HEAD /v2/team/app/manifests/v1?ns=${NAME}`]);
    assert.deepEqual(lines(upstream, 'GET'), []);
  });

  for (const { tags, asked } of [
    { tags: 'mirror-first', asked: 'mirror' },
    { tags: 'off', asked: 'upstream' },
  ] as const) {
    test(`containerd ${version}, ${tags}: the ${asked} alone resolves the tag`, async (t) => {
      const node = await startNode(t, version);
      for (const registry of [node.upstream, node.mirror]) registry.add('v1', makeImage('same'));
      const registries = [{ name: NAME, upstream: `http://${node.upstream.host}` }];
      await configure({ certsDir: node.certsDir, registries, mirrorAddress: node.mirrorAddress, tags });

      await node.pull(IMAGE);

      assert.equal(lines(node[asked], 'HEAD').length, 1);
      assert.equal(lines(node[asked === 'mirror' ? 'upstream' : 'mirror'], 'HEAD').length, 0);
      assert.equal(lines(node.mirror, 'GET').length, 3);
    });
  }

  test(`containerd ${version}: the mirror gets what an existing _default would have got, and then its own file`, async (t) => {
    const { certsDir, upstream, mirror, mirrorAddress, pull, write } = await startNode(t, version);
    const image = makeImage('default');
    upstream.add('v1', image);
    const before = `# a cache for all\n[host."http://${upstream.host}"] # here\nheader = { X-Team = ["a"] }`;
    await write('_default', 'hosts.toml', before);
    await configure({ certsDir, registries: undefined, mirrorAddress, tags: 'fresh' });

    await pull(IMAGE);
    assert.equal(lines(mirror)[0], `HEAD /v2/team/app/manifests/v1?ns=${NAME}`);
    assert.equal(lines(upstream, 'HEAD').length, 1);

    const seen = await configureRegistry({ certsDir, registry: { name: NAME } });
    assert.equal(seen?.action, 'created');
    assert.equal(await configureRegistry({ certsDir, registry: { name: NAME } }), undefined);
    upstream.add('v2', makeImage('own-file'));
    mirror.add('other', makeImage('own-file'));
    for (const registry of [upstream, mirror]) registry.forgetRequests();
    await pull(`${NAME}/team/app:v2`);
    assert.deepEqual(lines(upstream), [`HEAD /v2/team/app/manifests/v2?ns=${NAME}`]);
    assert.equal(upstream.requests[0]?.headers['x-team'], 'a');
    assert.deepEqual(lines(mirror, 'HEAD'), []);

    await cleanup({ certsDir });
    assert.equal(await fs.readFile(path.join(certsDir, '_default/hosts.toml'), 'utf8'), before);
    assert.deepEqual(await fs.readdir(certsDir), ['_default']);
  });

  test(`containerd ${version}: hosts that were there come before the registry and after the mirror`, async (t) => {
    const { certsDir, upstream, mirror, mirrorAddress, pull, write } = await startNode(t, version);
    const cache = await startRegistry(t);
    cache.add('v1', makeImage('cached'));
    await write(NAME, 'hosts.toml', `server = "http://${upstream.host}"\r\n\r\n[host."http://${cache.host}"]`);
    await configure({ certsDir, registries: undefined, mirrorAddress, tags: 'fresh' });

    await pull(IMAGE);

    assert.deepEqual(lines(cache, 'HEAD').length, 1);
    assert.equal(lines(mirror, 'GET').length, 3, 'the mirror is asked for the bytes first');
    assert.equal(lines(cache, 'GET').length, 3);
    assert.deepEqual(lines(upstream), []);
    cache.fail(500);
    upstream.fail(500);
    mirror.add('v2', makeImage('outage'));
    await pull(`${NAME}/team/app:v2`);
    assert.equal(lines(mirror, 'HEAD').length, 1);
    assert.equal(lines(upstream, 'HEAD').length, 1, 'the registry was asked before the mirror');
  });

  for (const layout of ['hosts.toml with ca and header', 'docker-style certificates'] as const) {
    test(`containerd ${version}: ${layout} still works`, async (t) => {
      const tls = await makeCertificate(t);
      const { certsDir, upstream, mirror, mirrorAddress, pull, write } = await startNode(t, version, tls);
      const name = upstream.host.replace('127.0.0.1', 'localtest.example') as Registry;
      assert.ok(parseRegistry(name));
      const isToml = layout.startsWith('hosts.toml');
      await write(name, 'corp.crt', tls.cert);
      // The registry's name leads nowhere here, so containerd needs its URL. It is the file's own, or a person's.
      if (isToml) {
        const text = `server = "https://${upstream.host}"\nca = "corp.crt"\n[header]\nX-Team = "a"\n`;
        await write(name, 'hosts.toml', text);
      }
      upstream.add('v1', makeImage('secured'));
      const registries = [{ name, ...(!isToml && { upstream: `https://${upstream.host}` }) }];
      await configure({ certsDir, registries, mirrorAddress, tags: 'fresh' });

      await pull(`${name}/team/app:v1`);

      assert.equal(lines(mirror, 'GET').length, 3, 'the mirror was asked first, and had nothing');
      assert.equal(lines(upstream, 'HEAD').length, 1);
      assert.equal(lines(upstream, 'GET').length, 3);
      if (isToml) assert.ok(upstream.requests.every(({ headers }) => headers['x-team'] === 'a'));
    });
  }

  test(`containerd ${version} takes whatever hosts.toml the mirror was merged into`, async (t) => {
    const { certsDir, mirror, mirrorAddress, pull } = await startNode(t, version);
    const { key, cert } = await makeCertificate(t);
    mirror.add('v1', makeImage('merged'));
    const texts = fc.sample(hostsToml, { numRuns: SAMPLES, seed: SEED });
    for (const [index, text] of texts.entries()) {
      const folder = path.join(certsDir, `r${index}.example`);
      await fs.mkdir(folder);
      for (const name of CERTIFICATE_NAMES) await fs.writeFile(path.join(folder, name), key + cert);
      await fs.writeFile(path.join(folder, 'hosts.toml'), text.replace(/\/[\w/ ]+\.pem/g, 'corp.pem'));
    }
    await configure({ certsDir, registries: undefined, mirrorAddress, tags: 'mirror-first' });

    for (const [index, text] of texts.entries()) {
      // A file that containerd drops leaves it the registry itself, and that leads nowhere.
      await pull(`r${index}.example/team/app:v1`).catch((cause: unknown) => {
        throw new Error(`seed ${SEED}, sample ${index}:\n${text}`, { cause });
      });
    }
  });
}

/** Random hosts.toml files, the same in each run: containerd's parsers are what is tested here. */
const SAMPLES = 60;
const SEED = 20_261_124;
const CERTIFICATE_NAMES = ['corp.pem', 'a.cert', 'a.key', 'a.pem', 'b.pem', 'c.pem'];

async function makeCertificate(t: TestContext): Promise<RegistryTls> {
  const folder = await fs.mkdtemp(path.join(os.tmpdir(), 'miroir-certificate-'));
  t.after(() => fs.rm(folder, { recursive: true }));
  const [key, cert] = [path.join(folder, 'key.pem'), path.join(folder, 'cert.pem')];
  const subject = ['-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1'];
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  await promisify(execFile)('openssl', ['req', '-x509', ...curve, ...subject, '-keyout', key, '-out', cert]);
  return { key: await fs.readFile(key, 'utf8'), cert: await fs.readFile(cert, 'utf8') };
}
