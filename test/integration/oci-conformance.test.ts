/** The distribution-spec project's own conformance suite, its pull part, against what a node holds and what its peer holds. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { createMemoryHub } from '../../mirror/swarm/memory.ts';
import { startTestMirror, type TestMirror } from '../conformance/oci-test-mirror.ts';
import { LabError } from '../lab/lab-error.ts';
import { BIN_ROOT } from '../lab/programs.ts';

/** The suite takes seconds. */
const DEADLINE_MS = 60_000;

/** The suite knows nothing of `?ns=`, so the registry is the first part of the name. */
const REPOSITORY = 'registry.example/conformance/repo1';

interface Content {
  readonly tags: readonly string[];
  readonly manifests: readonly string[];
  readonly blobs: readonly string[];
}

for (const who of ['the node that holds it', 'a node that gets it from its peer'] as const) {
  test(`content of ${who} is served as the distribution spec says`, async (t) => {
    const hub = createMemoryHub();
    const holder = await startTestMirror(t, { name: 'holder', hub });
    const other = await startTestMirror(t, { name: 'other', hub });
    const content = fill(holder);
    await holder.advertise();

    const { failed, passed, text } = await runSuite(t, who === 'the node that holds it' ? holder : other, content);

    assert.equal(failed, 0, text);
    // HEAD and GET of each, at least.
    assert.ok(passed >= 2 * (content.tags.length + content.manifests.length + content.blobs.length), text);
  });
}

/** An image, an index of it, an artifact and an empty blob. */
function fill({ store }: TestMirror): Content {
  const put = (value: object, mediaType: string) => {
    const bytes = Buffer.from(JSON.stringify(value));
    return { mediaType, digest: store.put(bytes), size: bytes.length };
  };
  const blob = (bytes: Buffer, mediaType: string) => ({ mediaType, digest: store.put(bytes), size: bytes.length });
  const tar = randomBytes(3 * 1024 * 1024);
  const layer = blob(tar, 'application/vnd.oci.image.layer.v1.tar');
  const empty = blob(Buffer.alloc(0), 'application/octet-stream');
  const config = put(
    {
      architecture: 'amd64',
      os: 'linux',
      config: {},
      rootfs: { type: 'layers', diff_ids: [`sha256:${createHash('sha256').update(tar).digest('hex')}`] },
    },
    'application/vnd.oci.image.config.v1+json',
  );
  const manifestType = 'application/vnd.oci.image.manifest.v1+json';
  const base = { schemaVersion: 2, mediaType: manifestType };
  const image = put({ ...base, config, layers: [layer] }, manifestType);
  const artifact = put({ ...base, artifactType: 'application/vnd.example', config, layers: [empty] }, manifestType);
  const indexType = 'application/vnd.oci.image.index.v1+json';
  const platform = { architecture: 'amd64', os: 'linux' };
  const index = put({ schemaVersion: 2, mediaType: indexType, manifests: [{ ...image, platform }] }, indexType);
  for (const [tag, { digest }] of Object.entries({ image, index, artifact })) {
    store.name(`${REPOSITORY}:${tag}`, digest, Date.now());
  }
  return {
    tags: ['image', 'index', 'artifact'],
    manifests: [image.digest, index.digest, artifact.digest],
    blobs: [layer.digest, config.digest, empty.digest],
  };
}

async function runSuite(t: TestContext, { url }: TestMirror, { tags, manifests, blobs }: Content) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'miroir-oci-conformance-'));
  t.after(() => fs.rmSync(folder, { recursive: true }));
  const child = spawn(findSuite(), {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: DEADLINE_MS,
    env: {
      OCI_REGISTRY: new URL(url).host,
      OCI_TLS: 'disabled',
      OCI_REPO1: REPOSITORY,
      OCI_RESULTS_DIR: folder,
      OCI_API_PUSH: 'false',
      OCI_API_BLOBS_DELETE: 'false',
      OCI_API_MANIFESTS_DELETE: 'false',
      OCI_API_TAGS_DELETE: 'false',
      // Mirrors do not list: they could only ever tell a part of what there is.
      OCI_API_TAGS_LIST: 'false',
      OCI_API_REFERRER: 'false',
      OCI_RO_DATA_TAGS: tags.join(' '),
      OCI_RO_DATA_MANIFESTS: manifests.join(' '),
      OCI_RO_DATA_BLOBS: blobs.join(' '),
    },
  });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (part: Buffer) => {
      text += part.toString();
    });
  }
  await new Promise((resolve) => child.once('close', resolve));
  // Read from its summary: in read-only mode the suite stops short of writing its reports.
  const count = (status: string) => Number(new RegExp(`^ +${status}\\.+: +(\\d+)$`, 'm').exec(text)?.[1]);
  return { passed: count('Pass'), failed: count('FAIL') + count('Error'), text };
}

function findSuite(): string {
  const folder = fs.existsSync(BIN_ROOT)
    ? fs.readdirSync(BIN_ROOT).find((name) => name.startsWith('oci-conformance-'))
    : undefined;
  if (folder !== undefined) return path.join(BIN_ROOT, folder, 'conformance');
  const fix = 'npm run lab -- build oci-conformance';
  throw new LabError('ERR_LAB_REQUIREMENT_MISSING', `no OCI conformance suite; get it with: ${fix}`);
}
