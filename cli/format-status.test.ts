import assert from 'node:assert/strict';
import test from 'node:test';
import { formatBytes, formatStatus } from './format-status.ts';
import type { MirrorReport } from './read-status.ts';

const STATUS = {
  version: '0.1.0',
  startedAt: '2026-01-01T00:00:00.000Z',
  zone: undefined,
  router: 'one-hop',
  missing: [],
  members: [{ peerId: 'p', address: '10.0.0.8' }],
  verdict: {
    result: 'compatible',
    containerd: 'v2.4.2',
    distribution: undefined,
    reasons: [],
    judgedAt: undefined,
  },
  held: { digests: 12, tags: 3 },
  registries: [{ registry: 'registry.example', sparedRequests: 9, sparedBytes: 1_234_000_000, missedRequests: 1 }],
} as const;

test('a line a node and a line a registry, and nothing else when all is well', () => {
  const text = formatStatus([{ node: 'n1', status: STATUS, problem: undefined }]);

  assert.equal(
    text,
    `NODE  VERSION  CONTAINERD  VERDICT     READY  SEES  HOLDS  SPARED  HITS
n1    0.1.0    2.4.2       compatible  yes    1     12     1.2 GB  90 %

REGISTRY          BYTES SPARED  REQUESTS SPARED  NOBODY HAD  HITS
registry.example  1.2 GB        9                1           90 %
`,
  );
});

test('what is wrong with a node is said below, with the fix, and without its escape sequences', () => {
  const reason = {
    code: 'config-path-empty',
    weighs: 'incompatible',
    sentence: 'no \u001b[2Jpath',
    evidence: [],
    fix: 'set it',
  } as const;
  const verdict = { ...STATUS.verdict, result: 'incompatible', reasons: [reason] } as const;
  const reports: readonly MirrorReport[] = [
    {
      node: 'n1',
      status: { ...STATUS, verdict, missing: ['swarm: members are still being tried'] },
      problem: undefined,
    },
    { node: 'n2', status: undefined, problem: 'it has no mirror' },
  ];

  const lines = formatStatus(reports).split('\n');

  assert.deepEqual(lines.slice(-5), [
    'n1: swarm: members are still being tried',
    'n1: no  [2Jpath (config-path-empty)',
    'n1: set it',
    'n2: it has no mirror',
    '',
  ]);
});

for (const [bytes, text] of [
  [0, '0 B'],
  [999, '999 B'],
  [1000, '1.0 kB'],
  [123_456, '123 kB'],
  [5e15, '5.0 PB'],
  [5e18, '5000 PB'],
] as const) {
  test(`${bytes} bytes are ${text}`, () => {
    assert.equal(formatBytes(bytes), text);
  });
}
