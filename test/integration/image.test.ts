/** The image as the Dockerfile makes it: small, the same twice, and nothing in it but Miroir. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { buildah, buildImage, removeImages, runInImage } from '../../scripts/build-image.ts';

const DEADLINE_MS = 5 * 60_000;
/** A mirror is on every node, and comes by pulls itself. */
const UNPACKED_BYTES_MAX = 160_000_000;

test('two builds of the same sources have the same digest, and the image is small and runs', async (t) => {
  const signal = AbortSignal.any([t.signal, AbortSignal.timeout(DEADLINE_MS)]);
  const tags = ['localhost/miroir-test:first', 'localhost/miroir-test:second'] as const;
  t.after(() => removeImages(tags));

  const first = await buildImage({ tag: tags[0], noCache: true }, signal);
  const second = await buildImage({ tag: tags[1], noCache: true }, signal);

  assert.equal(second.digest, first.digest);
  assert.ok(first.bytes <= UNPACKED_BYTES_MAX, `${first.bytes} bytes`);
  assert.equal(first.files[0]?.name, 'usr/local/bin/node');
  const [, version] =
    /^miroir (\d+\.\d+\.\d+) \(commit [0-9a-f]{12}/.exec(await runInImage(tags[0], ['miroir', 'version'], signal)) ??
    [];
  assert.ok(version);
  assert.match(await runInImage(tags[0], ['miroir', 'webhook', '--help'], signal), /--webhook-address/);
  await assert.rejects(runInImage(tags[0], ['/bin/sh', '-c', 'true'], signal), /no such file/);
  const read = [
    '/usr/local/bin/node',
    '-p',
    "require('fs').readFileSync('/usr/share/doc/miroir/sbom.cdx.json', 'utf8')",
  ];
  const native = ['sendfile', 'preadv2', 'EVP_CipherUpdate'].map((name) => `${name}: { arguments: [], return: 'i64' }`);
  const open = `Object.keys(require('node:ffi').dlopen(null, { ${native.join(', ')} }).functions).length`;
  const found = await runInImage(tags[0], ['/usr/local/bin/node', '-p', open], signal);
  assert.equal(found.trim(), '3', 'what is not exported any more is done at several times the cost');
  const { components } = JSON.parse(await runInImage(tags[0], read, signal)) as Bom;
  const names = components.map(({ name }) => name);
  for (const name of ['node', 'libp2p', 'fastify', '@kubernetes/client-node']) assert.ok(names.includes(name), name);
  assert.ok(components.every(({ version, purl }) => version !== '' && purl.startsWith('pkg:')));
  const { OCIv1: image } = JSON.parse(await buildah(['inspect', '--type=image', tags[0]], signal)) as Inspected;
  assert.equal(image.config.User, '65532:65532');
  assert.deepEqual(image.config.Entrypoint, ['/usr/local/bin/miroir']);
  const label = (name: string) => image.config.Labels[`org.opencontainers.image.${name}`] ?? '';
  assert.equal(label('title'), 'Miroir');
  assert.equal(label('version'), version);
  assert.match(label('revision'), /^[0-9a-f]{12}(-dirty)?$/);
  assert.match(label('base.name'), /^localhost\/miroir-lab-base:[0-9a-f]{12}$/);
  assert.equal(image.rootfs.diff_ids.length, 2, 'a new Miroir is a pull of one small layer');
});

interface Inspected {
  readonly OCIv1: {
    readonly config: {
      readonly User: string;
      readonly Entrypoint: readonly string[];
      readonly Labels: Readonly<Record<string, string>>;
    };
    readonly rootfs: { readonly diff_ids: readonly string[] };
  };
}

interface Bom {
  readonly components: readonly { readonly name: string; readonly version: string; readonly purl: string }[];
}
