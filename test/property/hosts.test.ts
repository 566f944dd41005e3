import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { stripBlocks } from '../../containerd/hosts-block.ts';
import { type HostsMerge, mergeHosts } from '../../containerd/hosts-merge.ts';
import { NO_HOSTS, parseHostsToml } from '../../containerd/hosts-toml.ts';
import { hostsToml } from './hosts-arbitrary.ts';

const FILE = 'registry.example/hosts.toml';

const merges: fc.Arbitrary<HostsMerge> = fc.record({
  marks: fc.record({
    tags: fc.constantFrom('fresh', 'mirror-first', 'off'),
    mirror: fc.constantFrom('127.0.0.1:29981', '127.0.0.1:31000'),
    isFileMade: fc.boolean(),
    foldersMade: fc.nat({ max: 12 }),
  }),
  upstream: fc.constantFrom(undefined, 'https://registry-1.docker.io', 'http://10.2.2.2:5000'),
  isUpstreamNamed: fc.boolean(),
  isDefault: fc.boolean(),
  inherited: fc.constantFrom(NO_HOSTS, {
    server: 'https://all.corp',
    root: { ca: ['a\u007f"\\.crt'], client: [['a.cert', 'a.key']], header: { 'X-"A"': ['ü'] } },
    hosts: new Map([['https://cache.corp', { skip_verify: true }]]),
  }),
});

test('what is merged into a hosts.toml comes out again, and leaves the bytes that were there', () => {
  fc.assert(
    fc.property(hostsToml, merges, (base, merge) => {
      const stripped = stripBlocks(mergeHosts(base, merge, FILE), FILE);

      assert.equal(stripped.base, base);
      assert.deepEqual(stripped.marks, { ...merge.marks });
    }),
    { numRuns: 500 },
  );
});

test('what a hosts.toml said before, it says after: the same settings, and its hosts in the same order', () => {
  fc.assert(
    fc.property(hostsToml, merges, (base, merge) => {
      const before = parseHostsToml(base, FILE);

      const after = parseHostsToml(mergeHosts(base, merge, FILE), FILE);

      if (before.server !== undefined) assert.equal(after.server, before.server);
      assert.deepEqual({ ...after.root, ...before.root }, after.root);
      assert.deepEqual(
        [...after.hosts].filter(([url]) => before.hosts.has(url)),
        [...before.hosts],
      );
      assert.ok([...after.hosts.keys()][0]?.startsWith(`http://${merge.marks.mirror}`), 'the mirror is asked first');
    }),
    { numRuns: 500 },
  );
});

test('fresh tags: the registry is asked after all that was there, and the mirror after it', () => {
  fc.assert(
    fc.property(hostsToml, merges, (base, { marks, ...merge }) => {
      const before = parseHostsToml(base, FILE);
      const text = mergeHosts(base, { ...merge, marks: { ...marks, tags: 'fresh' }, isDefault: false }, FILE);
      const { hosts, server } = parseHostsToml(text, FILE);
      const urls = [...hosts.keys()];

      assert.equal(urls[0], `http://${marks.mirror}/v2`);
      assert.deepEqual(hosts.get(`http://${marks.mirror}/v2`)?.capabilities, ['pull']);
      const registry = server ?? merge.upstream;
      if (registry === undefined) return;
      assert.equal(urls.at(-1), `http://${marks.mirror}`);
      const last = urls.findIndex(
        (url) => url.replace(/^(?!http)/, 'https://') === registry.replace(/^(?!http)/, 'https://'),
      );
      assert.ok(last > 0, 'the registry is among the hosts');
      if (!before.hosts.has(urls[last] as string)) assert.equal(last, urls.length - 2);
    }),
    { numRuns: 500 },
  );
});
