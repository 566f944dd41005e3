import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { parse } from 'smol-toml';
import type { NodeEvidence } from '../../containerd/verdict/evidence.ts';
import { judgeContainerd } from '../../containerd/verdict/judge-containerd.ts';
import { indexLines } from '../../containerd/verdict/toml-keys.ts';
import { configFiles } from './containerd-config-arbitrary.ts';

const tomlTable = fc.dictionary(
  fc.constantFrom(
    'version',
    'plugins',
    'io.containerd.grpc.v1.cri',
    'io.containerd.cri.v1.images',
    'registry',
    'mirrors',
  ),
  fc.oneof(fc.integer(), fc.string(), fc.boolean(), fc.array(fc.integer()), fc.dictionary(fc.string(), fc.anything())),
);

const files = fc.oneof(
  configFiles.map((texts) =>
    texts.map((text, index) => ({ path: `/etc/${index}.toml`, table: parse(text), lineOf: indexLines(text) })),
  ),
  // What the parser gives can be of any shape.
  fc.array(
    tomlTable.map((table) => ({ path: '/etc/any.toml', table, lineOf: () => undefined })),
    { maxLength: 2 },
  ),
);

const maybe = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined });

const problem = fc.constantFrom(
  { kind: 'absent', file: '/etc/0.toml', line: undefined, what: 'is not there' } as const,
  { kind: 'invalid', file: '/etc/0.toml', line: 3, what: 'is no TOML' } as const,
);

const evidence: fc.Arbitrary<NodeEvidence> = fc.record({
  version: maybe(
    fc.constantFrom('1.6.20~ds1', 'v1.7.34', '2.0.7', 'v2.1.5', '2.2.0', '2.2.9', '2.3.4', '2.4.2', '3.0.0', 'x'),
  ),
  unreachable: maybe(fc.string()),
  otherSockets: fc.constant([]),
  configFile: fc.constant('/etc/0.toml'),
  config: fc.record({
    files,
    problem: fc.option(problem, { freq: 4, nil: undefined }),
    changedAtMs: fc.nat(),
    stamp: fc.constant(''),
    watched: fc.constant([]),
  }),
  certsDir: fc.constantFrom('/a', '/c'),
  distribution: fc.constantFrom(
    'unknown',
    'eks-al2023',
    'eks-al2',
    'gke',
    'k3s',
    'kind',
    'talos',
    'k0s',
    'bottlerocket',
    'aks',
  ),
  running: fc.record({
    source: fc.constantFrom('status', 'introspection'),
    configPath: maybe(fc.constantFrom('', '/a', '/b:/c')),
    discardUnpackedLayers: maybe(fc.boolean()),
    snapshotter: maybe(fc.constantFrom('overlayfs', 'stargz')),
  }),
  failedPlugin: fc.option(fc.constant({ name: 'io.containerd.grpc.v1.cri', failure: 'why' }), {
    freq: 4,
    nil: undefined,
  }),
  probe: fc.constantFrom(
    { kind: 'reached' } as const,
    { kind: 'not-reached' } as const,
    { kind: 'not-run' } as const,
    { kind: 'failed', why: 'it hangs' } as const,
  ),
  newestImage: maybe(fc.record({ manifest: fc.constant('sha256:0'), createdAtMs: fc.nat(), hasLayers: fc.boolean() })),
});

test('whatever is known of a node, the verdict follows from its reasons, the heaviest first', () => {
  fc.assert(
    fc.property(evidence, (node) => {
      const { result, reasons } = judgeContainerd(node);

      const weights = reasons.map(({ weighs }) => ['incompatible', 'unknown', 'note'].indexOf(weighs));
      assert.deepEqual(
        weights,
        weights.toSorted((a, b) => a - b),
      );
      const heaviest = reasons[0]?.weighs ?? 'note';
      assert.equal(result, heaviest === 'note' ? 'compatible' : heaviest);
    }),
    { numRuns: 2000 },
  );
});

test('whoever is not compatible is told why, and what is incompatible is told how to mend it', () => {
  fc.assert(
    fc.property(evidence, (node) => {
      const { result, reasons } = judgeContainerd(node);

      assert.ok(result === 'compatible' || reasons.length > 0);
      for (const { weighs, sentence, fix } of reasons) {
        assert.notEqual(sentence, '');
        if (weighs === 'incompatible') assert.ok(fix !== undefined && fix !== '');
      }
    }),
    { numRuns: 2000 },
  );
});

test('a pull that asks is never called one that does not, and one that does not is never called compatible', () => {
  fc.assert(
    fc.property(evidence, (node) => {
      const about = (kind: 'reached' | 'not-reached') =>
        judgeContainerd({ ...node, version: '2.1.5', failedPlugin: undefined, probe: { kind } });

      const pathCodes = about('reached')
        .reasons.filter(({ weighs }) => weighs === 'incompatible')
        .map(({ code }) => code)
        .filter((code) => code.startsWith('config-path') || code.startsWith('probe'));
      assert.deepEqual(pathCodes, []);
      assert.equal(about('not-reached').result, 'incompatible');
    }),
    { numRuns: 2000 },
  );
});

test('a verdict is the same when it was written as JSON and read', () => {
  fc.assert(
    fc.property(evidence, (node) => {
      const verdict = judgeContainerd(node);
      const plain = JSON.parse(JSON.stringify(verdict)) as typeof verdict;
      assert.deepEqual(
        plain.reasons.map(({ code }) => code),
        verdict.reasons.map(({ code }) => code),
      );
      assert.equal(plain.result, verdict.result);
    }),
  );
});
