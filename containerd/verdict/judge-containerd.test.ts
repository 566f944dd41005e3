import assert from 'node:assert/strict';
import test from 'node:test';
import { parse } from 'smol-toml';
import type { NodeEvidence } from './evidence.ts';
import { judgeContainerd } from './judge-containerd.ts';
import { indexLines } from './toml-keys.ts';

const FILE = '/etc/containerd/config.toml';
const GOOD = '[plugins."io.containerd.cri.v1.images".registry]\nconfig_path = "/etc/containerd/certs.d"\n';
const EMPTY = '[plugins."io.containerd.cri.v1.images".registry]\nconfig_path = ""\n';
const DISCARDING = `[plugins."io.containerd.cri.v1.images"]\ndiscard_unpacked_layers = true\n${GOOD}`;
const CHANGED_AT_MS = 1_000_000;

const NOTHING_TOLD: NodeEvidence['running'] = {
  source: 'introspection',
  configPath: undefined,
  discardUnpackedLayers: undefined,
  snapshotter: undefined,
};

/** A node of containerd 2.1 with this configuration, of which nothing more is known than what the test says. */
function nodeWith(configText: string | undefined, more: Partial<NodeEvidence> = {}): NodeEvidence {
  const text = `version = 3\n${configText ?? ''}`;
  const problem = { kind: 'absent', file: FILE, line: undefined, what: 'is not there' } as const;
  return {
    version: 'v2.1.5',
    unreachable: undefined,
    otherSockets: [],
    configFile: FILE,
    config: {
      files: configText === undefined ? [] : [{ path: FILE, table: parse(text), lineOf: indexLines(text) }],
      problem: configText === undefined ? problem : undefined,
      changedAtMs: CHANGED_AT_MS,
      stamp: '',
      watched: [],
    },
    certsDir: '/etc/containerd/certs.d',
    distribution: 'unknown',
    running: NOTHING_TOLD,
    failedPlugin: undefined,
    probe: { kind: 'not-run' },
    newestImage: undefined,
    ...more,
  };
}

const image = (hasLayers: boolean, age: 'before the change' | 'after the change') => ({
  manifest: 'sha256:0',
  hasLayers,
  createdAtMs: CHANGED_AT_MS + (age === 'after the change' ? 1 : -1),
});

const REACHED = { probe: { kind: 'reached' } } as const;
const SILENT = { probe: { kind: 'not-reached' } } as const;
const STUCK = { probe: { kind: 'failed', why: 'certs.d cannot be written' } } as const;

for (const { title, node, result, codes } of [
  { title: 'good files alone', node: nodeWith(GOOD), result: 'compatible', codes: [] },
  { title: 'good files and a pull that asks', node: nodeWith(GOOD, REACHED), result: 'compatible', codes: [] },
  {
    title: 'good files and a pull that does not ask',
    node: nodeWith(GOOD, SILENT),
    result: 'incompatible',
    codes: ['probe-not-reached'],
  },
  {
    title: 'good files and a pull that could not be tried',
    node: nodeWith(GOOD, STUCK),
    result: 'compatible',
    codes: ['probe-failed'],
  },
  {
    title: 'good files, and a containerd that says it runs with none',
    node: nodeWith(GOOD, { ...SILENT, running: { ...NOTHING_TOLD, configPath: '' } }),
    result: 'incompatible',
    codes: ['not-restarted'],
  },
  {
    title: 'a list by default that containerd says it runs with, and good files',
    node: nodeWith(GOOD, {
      ...STUCK,
      running: { ...NOTHING_TOLD, configPath: '/etc/containerd/certs.d:/etc/docker/certs.d' },
    }),
    result: 'incompatible',
    codes: ['not-restarted', 'probe-failed'],
  },
  { title: 'bad files alone', node: nodeWith(EMPTY), result: 'incompatible', codes: ['config-path-empty'] },
  {
    title: 'bad files and a pull that asks all the same',
    node: nodeWith(EMPTY, REACHED),
    result: 'compatible',
    codes: ['config-differs'],
  },
  {
    title: 'bad files and a pull that could not be tried',
    node: nodeWith(EMPTY, STUCK),
    result: 'incompatible',
    codes: ['config-path-empty', 'probe-failed'],
  },
  {
    title: 'no files and nothing tried',
    node: nodeWith(undefined),
    result: 'unknown',
    codes: ['path-unproven', 'layers-unproven', 'config-unreadable'],
  },
  {
    title: 'no files, a pull that asks and an image with layers',
    node: nodeWith(undefined, { ...REACHED, newestImage: image(true, 'after the change') }),
    result: 'compatible',
    codes: ['config-unreadable'],
  },
  {
    title: 'no files, a pull that asks and an image without layers',
    node: nodeWith(undefined, { ...REACHED, newestImage: image(false, 'after the change') }),
    result: 'incompatible',
    codes: ['layers-discarded', 'config-unreadable'],
  },
  {
    title: 'no files, a pull that asks and no image',
    node: nodeWith(undefined, REACHED),
    result: 'unknown',
    codes: ['layers-unproven', 'config-unreadable'],
  },
  {
    title: 'no files and a pull that does not ask',
    node: nodeWith(undefined, { ...SILENT, newestImage: image(true, 'after the change') }),
    result: 'incompatible',
    codes: ['probe-not-reached', 'config-unreadable'],
  },
  {
    title: 'files that discard',
    node: nodeWith(DISCARDING, REACHED),
    result: 'incompatible',
    codes: ['layers-discarded'],
  },
  {
    title: 'files that discard, and a running containerd that does not',
    node: nodeWith(DISCARDING, { ...REACHED, running: { ...NOTHING_TOLD, discardUnpackedLayers: false } }),
    result: 'compatible',
    codes: [],
  },
  {
    title: 'files that keep, and a running containerd that discards',
    node: nodeWith(GOOD, { ...REACHED, running: { ...NOTHING_TOLD, discardUnpackedLayers: true } }),
    result: 'incompatible',
    codes: ['layers-discarded'],
  },
  {
    title: 'files that keep since the last image, which has no layers',
    node: nodeWith(GOOD, { ...REACHED, newestImage: image(false, 'before the change') }),
    result: 'compatible',
    codes: ['layers-gone-before'],
  },
  {
    title: 'files that keep, and an image without layers after them',
    node: nodeWith(GOOD, { ...REACHED, newestImage: image(false, 'after the change') }),
    result: 'incompatible',
    codes: ['layers-discarded'],
  },
  {
    title: 'a snapshotter that mounts from the registry',
    node: nodeWith(`[plugins."io.containerd.cri.v1.images"]\nsnapshotter = "stargz"\n${GOOD}`, REACHED),
    result: 'incompatible',
    codes: ['remote-snapshotter'],
  },
  {
    title: 'such a snapshotter, and an image that has its layers',
    node: nodeWith(`[plugins."io.containerd.cri.v1.images"]\nsnapshotter = "soci"\n${GOOD}`, {
      ...REACHED,
      newestImage: image(true, 'after the change'),
    }),
    result: 'compatible',
    codes: ['remote-snapshotter'],
  },
  {
    title: 'a CRI plugin that did not load',
    node: nodeWith(GOOD, {
      ...STUCK,
      failedPlugin: { name: 'io.containerd.grpc.v1.cri', failure: 'no such snapshotter' },
    }),
    result: 'incompatible',
    codes: ['cri-not-loaded'],
  },
  {
    title: 'a value of another type',
    node: nodeWith('[plugins."io.containerd.cri.v1.images".registry]\nconfig_path = 5\n', REACHED),
    result: 'compatible',
    codes: ['config-differs', 'config-refused'],
  },
  {
    title: 'a containerd that does not answer',
    node: nodeWith(GOOD, { version: undefined, unreachable: 'there is no such socket' }),
    result: 'unknown',
    codes: ['containerd-unreachable'],
  },
  {
    title: 'a version that is none, and a pull that asks',
    node: nodeWith(GOOD, { ...REACHED, version: 'main', newestImage: image(true, 'after the change') }),
    result: 'compatible',
    codes: ['version-unknown'],
  },
]) {
  test(`${title}: ${[result, ...codes].join(', ')}`, () => {
    const verdict = judgeContainerd(node);

    assert.deepEqual(
      { result: verdict.result, codes: verdict.reasons.map(({ code }) => code) },
      { result, codes },
      JSON.stringify(verdict, undefined, 2),
    );
  });
}

test('a reason names the file, the line and the value', () => {
  const [reason] = judgeContainerd(nodeWith(DISCARDING)).reasons;

  assert.deepEqual(reason?.evidence, [
    { source: 'file', file: FILE, line: 3, value: 'discard_unpacked_layers = true' },
  ]);
});

test('layers that are discarded under a list of folders are mended together with the list', () => {
  const listing = DISCARDING.replace('certs.d"', 'certs.d:/etc/docker/certs.d"');

  const [reason] = judgeContainerd(nodeWith(listing)).reasons;

  assert.match(String(reason?.fix), /discard_unpacked_layers = false[\s\S]*config_path = "\/etc\/containerd\/certs.d"/);
});

test('the fix for containerd 1.x has the sections of 1.x', () => {
  const [reason] = judgeContainerd(nodeWith('', { version: '1.7.30' })).reasons;

  assert.match(String(reason?.fix), /\[plugins\."io\.containerd\.grpc\.v1\.cri"\.registry\]/);
});

test('mirrors set in the old way are to be taken out when config_path is set', () => {
  const mirrors =
    '[plugins."io.containerd.grpc.v1.cri".registry.mirrors."registry.example"]\nendpoint = ["http://m"]\n';

  const [reason] = judgeContainerd(nodeWith(mirrors, { version: '1.7.30' })).reasons;

  assert.equal(reason?.code, 'config-path-empty');
  assert.match(String(reason.fix), /take registry\.mirrors out too/);
});
